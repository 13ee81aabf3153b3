"""How a function that takes long tells how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int], None]       # called with (done, total)
