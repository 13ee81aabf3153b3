"""What goes wrong in training and its data."""

from tidegate.spec.errors import TidegateError


class DataError(TidegateError):
    """A data set that is missing, incomplete or of a shape that cannot be used."""
