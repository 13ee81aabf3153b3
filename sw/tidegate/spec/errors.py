"""What can go wrong, as exceptions whose text is one line that says what to do."""


class TidegateError(Exception):
    """Base of all errors a user can cause or meet; the command line prints its text and exits with 1."""


class TidegateWarning(UserWarning):
    """What goes on although something is wrong; the command line prints its text, one line, and goes on."""


class ModelError(TidegateError):
    """A model file that is missing, damaged or inconsistent, or a network that cannot be represented."""


class CapacityError(ModelError):
    """A model that does not fit the board."""
