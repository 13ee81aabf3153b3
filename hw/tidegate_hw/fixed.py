"""Arithmetic in gateware; its rounding and saturation are those of ``tidegate.spec.fixed``."""

from amaranth.hdl import Mux

from tidegate.spec.fixed import Q


def product(value, factor):
    """``value`` (signed or not) times an unsigned ``factor`` of few bits; combinational, an adder for each of them.

    For products that are far from a device's multipliers, or for which none is left.
    """
    return sum(Mux(bit, value << k, 0) for k, bit in enumerate(factor))


def round_shift(value, shift: int):
    """``value`` (signed) divided by 2**shift, rounded half up; combinational, one adder of the result's width."""
    return value if shift == 0 else (value >> shift) + value[shift - 1]


def saturate(value, bits: int):
    """``value`` (signed) clipped to ±(2**(bits-1) - 1), as a signed value of ``bits`` bits; combinational, no adder."""
    limit = (1 << (bits - 1)) - 1
    low, high, negative = value[: bits - 1], value[bits - 1 :], value[-1]
    beyond = Mux(negative, ~high.all() | (low == 0), high.any())
    return Mux(beyond, Mux(negative, -limit, limit), value[:bits])[:bits].as_signed()


def requantise(value, frac: int, to: Q):
    """``value`` (signed, wider than the result) with ``frac`` fraction bits, rounded into the format ``to``.

    Saturating and combinational.  Whether the rounded value is beyond the format is seen while it is rounded: it is if
    the bits above the format's are not its sign, or if those from half an LSB up are all 1, or all 0 below zero.
    """
    shift = frac - to.frac
    if shift == 0:
        return saturate(value, to.bits)
    top, limit = shift + to.bits - 1, (1 << (to.bits - 1)) - 1
    assert shift > 0 and len(value) > top
    kept, above, negative = value[shift - 1 : top], value[top:], value[-1]
    beyond = Mux(negative, ~above.all() | ~kept.any(), above.any() | kept.all())
    rounded = (value[shift : top + 1] + value[shift - 1])[: to.bits]
    return Mux(beyond, Mux(negative, -limit, limit), rounded)[: to.bits].as_signed()
