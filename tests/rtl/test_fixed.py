"""Rounding and saturation in gateware against the spec, for every value."""

import numpy as np
import pytest
from amaranth.hdl import Const, Module, Signal, signed
from amaranth.sim import Simulator

from tidegate.spec import fixed as spec
from tidegate.spec.fixed import Q
from tidegate_hw import fixed

BITS = 12


def computed(function) -> list[int]:
    """``function`` of every signed value of BITS bits, in gateware."""
    m, value = Module(), Signal(signed(BITS))
    result = Signal(signed(2 * BITS))
    m.d.comb += result.eq(function(value))
    results = []

    async def bench(ctx):
        for k in every():
            ctx.set(value, int(k))
            results.append(ctx.get(result))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    return results


def every() -> np.ndarray:
    return np.arange(-(1 << (BITS - 1)), 1 << (BITS - 1))


@pytest.mark.parametrize("shift", [0, 1, 5])
def test_round_shift(shift):
    assert computed(lambda value: fixed.round_shift(value, shift)) == spec.round_shift(every(), shift).tolist()


@pytest.mark.parametrize("bits", [2, 7, BITS])
def test_saturate(bits):
    assert computed(lambda value: fixed.saturate(value, bits)) == spec.saturate(every(), bits).tolist()


@pytest.mark.parametrize(("frac", "to"), [(6, Q(2, 3)), (3, Q(2, 3)), (4, Q(4, 3)), (9, Q(0, 1)), (11, Q(0, 10))])
def test_requantise(frac, to):
    assert computed(lambda value: fixed.requantise(value, frac, to)) == to.requantise(every(), frac).tolist()


@pytest.mark.parametrize("factor", range(8))
def test_product(factor):
    assert computed(lambda value: fixed.product(value, Const(factor, 3))) == (every() * factor).tolist()
    assert computed(lambda value: fixed.product(value.as_unsigned(), Const(factor, 3))) == (
        every() % (1 << BITS) * factor).tolist()
