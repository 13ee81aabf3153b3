"""How series are cut into windows, and where their parts are: a recipe's field ``series``."""

from typing import Annotated

from pydantic import Field

from ..validated import Share, refuse, validated

Length = Annotated[int, Field(ge=1, le=100_000)]
Lag = Annotated[int, Field(ge=0, le=100_000)]


@validated("a recipe's series.")
class SeriesOptions:
    """Windows and parts of series; lengths are in frames.

    ``window``: of a training example, which begins from reset.  ``stride``: from one to the next; each time one is
    used it begins up to a stride later.  ``warm_up``: the first frames after a reset, which cost but are neither
    trained nor judged.  ``validation``, ``test``: share of each record, at its end, in this order; the rest before them
    is for training.  ``gap``: frames between two parts that belong to none.  ``ahead``: the target is that of this
    many frames later.  ``change``: the target is by how much it will have changed by then, which a host adds to the
    present one.
    """

    window: Length = 256
    stride: Length = 64
    warm_up: Lag = 32
    validation: Share = 0.2
    test: Share = 0.2
    gap: Lag = 0
    ahead: Lag = 0
    change: bool = False

    def __post_init__(self):
        refuse(self.warm_up >= self.window, "warm_up is shorter than the window; make one of them fit")
        refuse(not self.validation, "validation is above 0, because it chooses the epoch")
        refuse(self.change and not self.ahead, "a change is that over the frames ahead; set ahead, such as 12, too")
        refuse(self.validation + self.test >= 1, "validation and test together are below 1; the rest trains")
