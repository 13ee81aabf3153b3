"""The runner and the stream helpers pass a good component and nothing else."""

import pytest
from amaranth import Module
from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from tidegate_sim.runner import run_bench
from tidegate_sim.streams import pack, unpack

BENCH = "tidegate_sim.benches.fifo"


class Queue(wiring.Component):
    """A queue of bytes; ``fault`` flips bit 0 of what leaves it while it is full, or forgets to hold it."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self, fault: str = ""):
        self.fault = fault
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=8, depth=4)
        wiring.connect(m, wiring.flipped(self.i), fifo.w_stream)
        wiring.connect(m, fifo.r_stream, wiring.flipped(self.o))
        if self.fault == "flip":
            m.d.comb += self.o.payload.eq(fifo.r_stream.payload ^ (fifo.level == 4))
        if self.fault == "drop":
            m.d.comb += fifo.r_stream.ready.eq(1)
        return m


def test_good_component_passes():
    assert run_bench(Queue(), BENCH, "queue") == 4


def test_one_bit_fault_fails():
    with pytest.raises(AssertionError, match=r"seed 7: failed: .*keeps_order"):
        run_bench(Queue("flip"), BENCH, "queue", seed=7)


def test_offer_withdrawn_fails(capfd):
    with pytest.raises(AssertionError, match="keeps_order"):
        run_bench(Queue("drop"), BENCH, "queue", seed=7)
    assert "before it was taken" in capfd.readouterr().out


def test_hung_simulator_is_ended():
    with pytest.raises(AssertionError, match=r"no result: more than 1 s"):
        run_bench(Queue(), "tidegate_sim.benches.endless", "queue", timeout=1)


def test_same_seed_same_result(capfd):
    outputs = []
    for _ in range(2):
        with pytest.raises(AssertionError):
            run_bench(Queue("flip"), BENCH, "queue", seed=3)
        outputs.append([x for x in capfd.readouterr().out.splitlines() if "AssertionError" in x])
    assert outputs[0] and outputs[0] == outputs[1]


def test_one_testcase():
    assert run_bench(Queue(), BENCH, "queue", testcase="keeps_order/stalls=both") == 1


@pytest.mark.parametrize("module", ["tidegate_sim.benches.empty", "tidegate_sim.benches.nonesuch"])
def test_bench_without_tests_fails(module):
    with pytest.raises(AssertionError, match=r"no (test ran|result)"):
        run_bench(Queue(), module, "queue")


def test_testcase_that_does_not_exist_fails():
    with pytest.raises(AssertionError, match=r"no (test ran|result)"):
        run_bench(Queue(), BENCH, "queue", testcase="nonesuch")


def test_waveform(tmp_path):
    run_bench(Queue(), BENCH, "queue", testcase="keeps_order/stalls=none", waveform=tmp_path / "queue.vcd")
    assert "$enddefinitions" in (tmp_path / "queue.vcd").read_text()


def test_pack_unpack():
    layout = data.StructLayout({"a": 3, "b": signed(5), "c": data.ArrayLayout(signed(4), 2)})
    value = {"a": 5, "b": -3, "c": [-8, 7]}
    assert pack(layout, value) == layout.const(value).as_value().value
    assert unpack(layout, pack(layout, value)) == value
