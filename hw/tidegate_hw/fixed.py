"""Rounding and saturation in gateware: the RTL twin of ``tidegate.spec.fixed``."""

from amaranth.hdl import Mux

from tidegate.spec.fixed import Q


def round_shift(value, shift: int):
    """``value`` (signed) divided by 2**shift, rounded half up; combinational, one adder."""
    return value if shift == 0 else (value + (1 << (shift - 1))) >> shift


def saturate(value, bits: int):
    """``value`` (signed) clipped to ±(2**(bits-1) - 1), as a signed value of ``bits`` bits; combinational, no adder."""
    limit = (1 << (bits - 1)) - 1
    low, high, negative = value[: bits - 1], value[bits - 1 :], value[-1]
    beyond = Mux(negative, ~high.all() | (low == 0), high.any())
    return Mux(beyond, Mux(negative, -limit, limit), value[:bits])[:bits].as_signed()


def requantise(value, frac: int, to: Q):
    """``value`` with ``frac`` fraction bits rounded into the format ``to``, saturating."""
    return saturate(round_shift(value, frac - to.frac), to.bits)
