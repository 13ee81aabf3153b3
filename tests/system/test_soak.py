"""Long listening and its latency on the virtual board; the whole 10 hours are slow."""

import numpy as np
import pytest

from tidegate import load_model
from tidegate.host.selftest import PATHS
from tidegate.spec.errors import ModelError
from tidegate.spec.model import read_model
from tidegate_sim import soak
from tidegate_sim.latency import LIMIT_MS, measure_latency
from tidegate_sim.soak import Anew, LastFrame, Soak, made_sound


@pytest.fixture(autouse=True)
def _compiled(compiled):
    pass


def passes(report: dict, hours: float) -> None:
    assert report["passed"], report
    assert report["frames"] == int((hours * 3600 * 16000 - 512) / 256) + 1
    assert (report["frames_lost"], report["frames_unaccounted"], report["mismatches"],
            report["differences_from_b_plus_Wv"]) == (0, 0, 0, 0)
    assert report["words"] > 5


def test_a_short_soak():
    passes(Soak("commands", 64, 0.02, 1).run(), 0.02)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_ten_hours():
    passes(Soak("commands", 64, 10, 1).run(), 10)


def test_a_board_that_drifts_is_found_out(monkeypatch):
    """One weight off by one in what is computed anew, as if one W·Δ had been added wrongly."""
    run = Soak("commands", 64, 0.005, 1)
    run.anew._w["gru.0.weight_hh"][3, 5] += 1
    report = run.run()
    assert report["mismatches"] > 0 and report["differences_from_b_plus_Wv"] > 0 and not report["passed"]


def test_a_lost_frame_is_found_out(monkeypatch):
    def shorter(*arguments):
        blocks = list(made_sound(*arguments))
        return iter([*blocks[:-1], blocks[-1][:-256]])

    monkeypatch.setattr(soak, "made_sound", shorter)
    report = Soak("commands", 64, 0.003, 1).run()
    assert report["frames_unaccounted"] == 1 and not report["passed"]


def test_growth_is_found_out(monkeypatch):
    memory = iter(100.0 + np.arange(1000))
    monkeypatch.setattr(soak, "memory_mib", lambda pid: next(memory))
    assert not Soak("commands", 64, 0.003, 1).run()["passed"]


def test_what_is_computed_anew_is_golden(tmp_path):
    from tidegate.golden import Golden

    model = load_model("digits-wide")
    steps = np.random.default_rng(0).integers(-60, 61, (200, model.network.features))
    frames = np.clip(steps.cumsum(0), -2047, 2047)
    trace, anew = Golden(model).run(frames[:, None]), Anew(model)
    for t, frame in enumerate(frames):
        events, logits = anew.accept(frame)
        assert events == trace.events[t, 0].tolist() and logits.tolist() == trace.logits[t, 0].tolist()


@pytest.mark.parametrize("kind", ["selftest-unit", "selftest-diffuse"])
def test_a_model_whose_sums_are_others_is_refused(kind):
    with pytest.raises(ModelError, match=r"^a long listen compares sums with b \+ W·v̂, .*; choose another model$"):
        Anew(read_model(PATHS[kind, 1]))


def test_a_trace_of_another_length_is_refused(tmp_path):
    from tidegate.spec.design import SIMULATED
    from tidegate.spec.layout import Layout

    last = LastFrame(tmp_path / "pipe", Layout(load_model("commands").network, SIMULATED[64]))
    with open(last.path, "wb") as pipe:
        pipe.write(bytes(last.bytes + 2))
    with pytest.raises(SystemExit, match="the trace has"):
        last.stages(1)


def test_from_sound_to_line():
    """The median of a few words; `python -m tidegate_sim.latency` measures more on a machine that is left alone."""
    report = measure_latency("commands", 64, 12)
    assert report["words"] >= 3 and report["median_ms"] <= LIMIT_MS
