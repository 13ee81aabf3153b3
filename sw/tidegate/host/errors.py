"""What can go wrong between a host and a board."""

from ..spec.errors import TidegateError


class BoardError(TidegateError):
    """A port that cannot be opened, a board that does not answer or refuses, or a cable that was pulled."""


class InputError(TidegateError):
    """Feature frames that cannot be sent: another shape, not finite, or out of range."""
