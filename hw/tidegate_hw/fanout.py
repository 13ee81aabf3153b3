"""Trees for nets that reach all lanes: no register drives more than a neighbourhood."""

from amaranth.hdl import Signal

SPAN = 16               # lanes that hang on one leaf


def leaf(like, name: str) -> Signal:
    """A register without reset that synthesis must not merge with its twins (``build.py`` sees to that)."""
    return Signal.like(like, name=name, attrs={"keep": 1}, reset_less=True)
