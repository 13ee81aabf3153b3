"""What goes wrong in training and its data."""

from collections.abc import Iterable

from tidegate.spec.errors import TidegateError


class DataError(TidegateError):
    """A data set that is missing, incomplete or of a shape that cannot be used."""


def other_words(wanted: Iterable[str], there: Iterable[str]) -> DataError:
    """The error of a model whose classes are not those of the data."""
    return DataError(f"the model's classes {', '.join(wanted)} are not the data set's {', '.join(there)}; "
                     "evaluate it on a data set with the same words")
