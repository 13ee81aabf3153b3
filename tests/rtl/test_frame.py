"""The frame buffer counts, saturates, pads and hands over at full rate."""

import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

import tidegate_hw.link.frame
from tidegate.spec.design import Design
from tidegate_hw.link.frame import MOST_FRAMES, FrameBuffer
from tidegate_sim.benches.frame import CAPACITY
from tidegate_sim.runner import run_bench

BENCH = "tidegate_sim.benches.frame"


class Buffers(wiring.Component):
    """A frame buffer for each encoder rate."""

    def __init__(self, *rates: int, capacity: int = CAPACITY):
        self.rates, self.capacity = rates, capacity
        super().__init__({name: member for e in rates for name, member in {
            f"begin_{e}": In(1),
            f"features_{e}": In(range(capacity + 1)),
            f"i_{e}": In(stream.Signature(8)),
            f"frames_{e}": Out(range(MOST_FRAMES + 1)),
            f"gathered_{e}": Out(1),
            f"whole_{e}": Out(1),
            f"start_{e}": In(1),
            f"o_{e}": Out(stream.Signature(data.ArrayLayout(signed(12), e))),
        }.items()})

    def elaborate(self, platform):
        m = Module()
        for e in self.rates:
            buffer = FrameBuffer(Design(encoder_rate=e, features=self.capacity))
            m.submodules[f"buffer_{e}"] = buffer
            for name in ("begin", "features", "start"):
                m.d.comb += getattr(buffer, name).eq(getattr(self, f"{name}_{e}"))
            for name in ("frames", "gathered", "whole"):
                m.d.comb += getattr(self, f"{name}_{e}").eq(getattr(buffer, name))
            i = getattr(self, f"i_{e}")
            m.d.comb += [buffer.i.payload.eq(i.payload), buffer.i.valid.eq(i.valid), i.ready.eq(1)]
            connect(m, buffer.o, flipped(getattr(self, f"o_{e}")))
        return m


def run(buffers: Buffers, name: str) -> int:
    env = {"RATES": " ".join(map(str, buffers.rates)), "CAPACITY": str(buffers.capacity)}
    return run_bench(buffers, BENCH, name, env=env)


def test_frames_become_groups():
    assert run(Buffers(1, 2, 4, 8), "frame_buffers") == 4 * 4


def test_wide_frames_become_groups():
    assert run(Buffers(1, 8, capacity=1000), "wide_frame_buffers") == 2 * 4


def test_wrong_limit_is_seen(monkeypatch):
    saturate = tidegate_hw.link.frame.saturate
    monkeypatch.setattr(tidegate_hw.link.frame, "saturate", lambda value, bits: saturate(value - 1, bits) + 1)
    with pytest.raises(AssertionError, match="failed: gathers_groups"):
        run(Buffers(4), "frame_buffer_with_fault")
