"""All rounding and saturation.  The RTL twin is ``tidegate_hw/fixed.py``, the float-tensor twin
``tidegate/golden/fixed.py``; both are compared with this file exhaustively.

Two rules serve the whole project: numbers are rounded *half up* (towards +inf), and they saturate
*symmetrically*, to ±(2**(bits-1) - 1), so that no value lacks its negative.
"""

from dataclasses import dataclass


def round_shift(x, shift: int):
    """Divide by 2**shift, rounding half up: floor(x / 2**shift + 1/2).

    ``x`` is an int or an integer array or tensor; ``shift`` >= 0.
    """
    if shift == 0:
        return x
    return (x + (1 << (shift - 1))) >> shift


def saturate(x, bits: int):
    """Clip an int or an integer array to ±(2**(bits-1) - 1)."""
    limit = (1 << (bits - 1)) - 1
    if isinstance(x, int):
        return max(-limit, min(limit, x))
    return x.clip(-limit, limit)


def wrap(x, bits: int):
    """Two's complement wrap-around of an int or an integer array to ``bits`` bits."""
    half = 1 << (bits - 1)
    return ((x + half) & ((1 << bits) - 1)) - half


@dataclass(frozen=True)
class Q:
    """A signed fixed-point format: ``int_bits`` before and ``frac`` bits after the binary point, and a sign.

    An integer ``k`` in this format means ``k / 2**frac``.
    """

    int_bits: int
    frac: int

    @property
    def bits(self) -> int:
        """Width of the two's complement word, sign included."""
        return 1 + self.int_bits + self.frac

    @property
    def max(self) -> int:
        """Largest magnitude, as an integer of this format (saturation is symmetric)."""
        return (1 << (self.bits - 1)) - 1

    def requantise(self, x, frac: int):
        """Round ``x``, an integer with ``frac`` >= ``self.frac`` fraction bits, into this format, saturating."""
        return saturate(round_shift(x, frac - self.frac), self.bits)
