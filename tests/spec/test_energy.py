"""The energy estimate against a small case by hand; its figures against each other and the page in docs."""

from dataclasses import replace
from pathlib import Path

import pytest

from tidegate.spec.cells import UNIT
from tidegate.spec.design import SIMULATED, Design
from tidegate.spec.energy import (
    COMPONENTS,
    DRAM_LOWER,
    DRAM_UPPER,
    FIGURES,
    MULTIPLY_8,
    MULTIPLY_32,
    NOTE,
    REGISTERS,
    SRAM,
    energy_comparison,
    estimate,
    figures_table,
    memory,
)
from tidegate.spec.errors import TidegateError
from tidegate.spec.layer import Layer
from tidegate.spec.layout import Layout
from tidegate.spec.network import Network
from tidegate.spec.rules import RULES


def small() -> Layout:
    """Columns of 3 and 4 words: 22 words a dense frame; 5 accumulator words; banks of 8 kB and 512 bytes."""
    network = Network(2, (Layer(4),), Layer(2), (0, 0))
    return Layout(network, Design(lanes=8, cell_rate=2, encoder_rate=2, weight_words=1024, acc_words=64))


# pJ a frame whatever fires: 8 lanes · 24 bits · (5 read + 4 written + 4 read) = 39 accesses of 64 bits at 10 pJ;
# 4 neurons · (57 bits of memory, 256 bits x bits of products, 48 bits of additions);
# 6 elements · 24 bits of memory and additions
EVERY_FRAME = 390 + 4 * (57 / 64 * 10 + 256 / 64 * 0.2 + 48 / 8 * 0.03) + 6 * 24 * (10 / 64 + 0.03 / 8)


def test_a_small_case_by_hand():
    parts = estimate(small(), 10)
    # 10 words of 64 bits at 10 pJ; 80 products at 96/64 · 0.2 pJ and sums at 24/32 · 0.1; 80 · 2 · 24 bits at 10 per 64
    assert parts == pytest.approx({"weight_memory": 0.1, "multiply_accumulate": 0.03, "accumulators": 0.6,
                                   "every_frame": EVERY_FRAME / 1000, "total": 0.73 + EVERY_FRAME / 1000})
    assert tuple(parts) == (*COMPONENTS, "total")


def test_counts_add_up_over_frames():
    one, two, both = estimate(small(), 4), estimate(small(), 17.5), estimate(small(), 21.5, 2)
    assert both == pytest.approx({name: one[name] + two[name] for name in both})
    assert estimate(small(), 0)["total"] == pytest.approx(EVERY_FRAME / 1000)
    assert estimate(small(), 0, 0)["total"] == 0


def test_layers_that_consume_read_bias_columns_in_every_frame():
    layers = [Layer(4, cell=UNIT, activation="relu", consumes=True, bias_columns=n) for n in (0, 1, 3)]
    costs = [estimate(Layout(Network(2, (layer,), Layer(2), (0, 0)), replace(
        small().design, cells=("unit",), rules=RULES)), 0)["weight_memory"] for layer in layers]
    # a word of 64 bits at 10 pJ: also without a bias, to make the sums 0
    assert costs == pytest.approx([0.01, 0.01, 0.03])


def test_other_memories():
    parts = estimate(small(), 10, weights=DRAM_LOWER, accumulators=REGISTERS)
    assert parts["weight_memory"] == pytest.approx(10 * 1.3)
    assert parts["accumulators"] == pytest.approx(80 * 2 * 24 / 32 / 1000)
    assert parts["every_frame"] == pytest.approx((EVERY_FRAME - 390 + 13 * 8 * 24 / 32) / 1000)
    assert estimate(small(), 10, weights=DRAM_UPPER)["weight_memory"] == pytest.approx(10 * 2.6)


def test_a_memory_costs_what_the_smallest_cited_one_costs_that_holds_a_bank():
    eight, thirty_two, mega = SRAM
    assert memory(1024, 64) is memory(1024, 512) is memory(2048, 32) is eight
    assert memory(1025, 64) is memory(4096, 512) is thirty_two
    assert memory(4097, 64) is memory(1 << 17, 64) is mega
    with pytest.raises(TidegateError, match="no cited energy for a memory bank of 2048 kB"):
        memory(1 << 18, 64)
    assert [memory(d.weight_words, 8 * d.lanes) for d in SIMULATED.values()] == [mega, mega, thirty_two, thirty_two]


def test_delta_against_dense():
    report = energy_comparison(small(), 5.5, frame_rate=50, seconds=2)
    fixed = EVERY_FRAME / 1000
    delta, dense = 0.073 * 5.5 + fixed, 0.073 * 22 + fixed
    assert report["frame"]["delta"] == estimate(small(), 5.5) and report["frame"]["dense"] == estimate(small(), 22)
    assert report["reduction"] == pytest.approx(dense / delta)
    assert 1 < report["reduction"] < 22 / 5.5           # what each frame costs is not saved
    assert report["second"] == pytest.approx({"delta": 50 * delta, "dense": 50 * dense})
    assert report["decision"] == pytest.approx(
        {"seconds": 2, "frames": 100, "delta": 100 * delta, "dense": 100 * dense})
    lower, upper = report["what_if"]["weights_in_dram"]
    assert lower["delta"] == pytest.approx(delta + 5.5 * (1.3 - 0.01))
    assert upper["dense"] == pytest.approx(dense + 22 * (2.6 - 0.01))
    assert energy_comparison(small(), 22)["reduction"] == 1
    unknown = energy_comparison(small(), 5.5)
    assert unknown["second"] is None and unknown["decision"] is None


def test_it_says_what_it_is():
    report = energy_comparison(small(), 1)
    assert report["note"] == NOTE
    for words in ("not a measurement", "never to be compared with one", "45 nm ASIC", "static power, clock tree"):
        assert words in NOTE
    assert len(report["sources"]) == 2 and all("45 nm" in source for source in report["sources"])
    assert all(f["source"] in report["sources"] for f in report["figures"])


def test_figures_are_cited_and_scale():
    assert all(f.pj > 0 and f.source and f.quoted for f in FIGURES)
    assert MULTIPLY_32.pj_a_unit == pytest.approx(MULTIPLY_8.pj_a_unit, rel=0.04)


@pytest.mark.parametrize(("words", "frames", "text"), [
    (-1, 1, "neither can be negative"), (1, -1, "neither can be negative"), (float("nan"), 1, "nan weight words"),
    (23, 1, "dense mode reads 22; give the number of frames"), (1, 0, "0 frames cannot read 1 weight words"),
])
def test_counts_that_cannot_be(words, frames, text):
    with pytest.raises(TidegateError, match=text):
        estimate(small(), words, frames)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_a_decision_takes_some_time(seconds):
    with pytest.raises(TidegateError, match="a decision takes some seconds"):
        energy_comparison(small(), 1, 50, seconds)


def test_the_page_in_docs_is_the_table():
    page = (Path(__file__).parents[2] / "docs" / "energy.md").read_text(encoding="utf-8")
    assert page.endswith(figures_table())
