"""COBS gateware equals the ``cobs`` package."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

import tidegate_hw.link.cobs
from tidegate_hw.link.cobs import TAIL_LAYOUT, TOKEN_LAYOUT, CobsDecoder, CobsEncoder
from tidegate_sim.runner import run_bench

BENCH = "tidegate_sim.benches.cobs"


class Pair(wiring.Component):
    """A decoder and an encoder side by side."""

    line: In(stream.Signature(8))
    token: Out(stream.Signature(TOKEN_LAYOUT))
    body: In(stream.Signature(TAIL_LAYOUT))
    packet: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.encoder = encoder = CobsEncoder()
        connect(m, flipped(self.line), decoder.i)
        connect(m, decoder.o, flipped(self.token))
        connect(m, flipped(self.body), encoder.i)
        connect(m, encoder.o, flipped(self.packet))
        return m


def test_matches_reference():
    assert run_bench(Pair(), BENCH, "cobs_pair") == 8


def test_block_one_byte_short_is_seen(monkeypatch):
    monkeypatch.setattr(tidegate_hw.link.cobs, "FULL", 254)
    with pytest.raises(AssertionError, match=r"failed: decodes.*, encodes"):
        run_bench(Pair(), BENCH, "cobs_pair_with_fault", testcase="codes/stalls=none")
