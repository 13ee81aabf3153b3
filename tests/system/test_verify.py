"""Golden against RTL through driver, link and virtual board; the long campaign is marked slow."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from core_board import Broken, CoreBoard
from fake_board import FakeTransport

import tidegate.host.board
import tidegate_sim.trace
import tidegate_sim.verify
from tidegate import load_model
from tidegate.clips import clips
from tidegate.golden import Golden
from tidegate.host.board import Board
from tidegate.host.detector import Detector, listening_stop
from tidegate.spec.layout import Layout
from tidegate.spec.registers import stop_registers
from tidegate.spec.stop import Stop, leads
from tidegate_sim.random_networks import random_model
from tidegate_sim.trace import compare
from tidegate_sim.verify import (
    _Expected,
    _streamed,
    default_thresholds,
    listening_of,
    one_stream,
    speech_frames,
    verify,
)

LANES = (8, 16, 64)
SPEECH = Path(__file__).parents[3] / "shared" / "data" / "speech_commands"

NETWORKS = {
    "one layer": lambda: random_model(20, [50], 7, seed=1, extreme=False),
    "two layers": lambda: random_model(20, [50, 37], 7, seed=2, extreme=False),
    "extreme weights": lambda: random_model(20, [50, 37], 7, seed=3, extreme=True),
    "four layers": lambda: random_model(13, [33, 8, 70, 5], 64, seed=4, extreme=False),
    "digits": lambda: load_model("digits"),
    "commands": lambda: load_model("commands"),
}


def frames_of(model, count: int) -> list[np.ndarray]:
    """Bundled clips (synthetic voices), or for many frames real speech where it is at hand."""
    paths = [clip.path for clip in clips()]
    if count > 1000:
        if not SPEECH.is_dir():
            pytest.skip("real speech (../shared/data/speech_commands) is not here")
        words = sorted(p for p in SPEECH.rglob("*.opus"))
        paths = [words[k] for k in np.random.default_rng(0).permutation(len(words))[: count // 40]]
    return list(speech_frames(model, paths, count))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("lanes", [8, 64])
def test_no_mismatch(lanes, name):
    model = NETWORKS[name]()
    report = verify(model, frames_of(model, 100), lanes=[lanes])
    assert (report["frames"], report["mismatches"]) == (300, 0), report
    assert report["decisions"] > 10 and report["frames_not_run"] > 50


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("lanes", LANES)
def test_no_mismatch_on_10000_frames_of_speech(lanes, name):
    model = NETWORKS[name]()
    for theta in default_thresholds(model):
        report = verify(model, frames_of(model, 10_000), lanes=[lanes], thresholds=[theta])
        print(f"{name}, {lanes} lanes, thresholds {theta}: "
              f"{report['frames']} frames, {report['mismatches']} mismatches")
        assert (report["frames"], report["mismatches"]) == (10_000, 0), report


def test_a_miscounted_weight_word_is_a_mismatch(monkeypatch):
    streamed = tidegate_sim.verify._streamed

    def miscounted(board, clips, stop=None, *step):
        run = streamed(board, clips, stop, *step)
        run[None, "weight words"][5] += stop.stream
        return run

    monkeypatch.setattr(tidegate_sim.verify, "_streamed", miscounted)
    model = NETWORKS["two layers"]()
    report = verify(model, frames_of(model, 20), lanes=[8], thresholds=[model.network.thresholds])
    found = report["first_mismatch"]
    assert report["mismatches"] == 1
    assert (found["frame"], found["layer"], found["stage"]) == (5, None, "weight words")
    assert found["rtl"] == found["golden"] + 1


@pytest.mark.parametrize(("register", "more"), [("STOP_HOLD", 1), ("STOP_MARGIN", 1), ("STOP_CLASSES", -1)])
def test_another_rule_on_the_board_is_a_mismatch(monkeypatch, register, more):
    monkeypatch.setattr(tidegate.host.board, "stop_registers", lambda *a: (
        {name: value + more * (name == register and value > 0) for name, value in stop_registers(*a).items()}))
    model = NETWORKS["one layer"]()
    clips = frames_of(model, 100)
    lead, best = leads(tidegate_sim.trace.golden_run(model, clips)[None, "logits"])
    assert lead[0] > 0
    rule = {"STOP_HOLD": Stop(0, hold=2), "STOP_MARGIN": Stop(int(lead[0]) - 1),
            "STOP_CLASSES": Stop(0, classes=int(best[0]) + 1)}[register]
    model = replace(model, stop=rule)
    report = verify(model, clips, lanes=[8], thresholds=[model.network.thresholds])
    assert report["mismatches"] > 0 and report["first_mismatch"]["stage"] == "decision"


@pytest.mark.parametrize(("register", "more"), [("STOP_RELEASE", 1), ("STOP_SMOOTH", -1), ("STOP_HOLD", -1)])
def test_another_rule_for_streams_is_a_mismatch(monkeypatch, register, more):
    monkeypatch.setattr(tidegate.host.board, "stop_registers", lambda *a: (
        {name: value + more * (name == register and value > 0) for name, value in stop_registers(*a).items()}))
    model = NETWORKS["one layer"]()
    clips = frames_of(model, 100)
    golden = tidegate_sim.trace.golden_run(model, clips)
    rule = listening_of(model, golden, clips)
    rules = [replace(rule, release=release) for release in range(1, rule.margin + 1)]
    if register == "STOP_HOLD":
        rules = [replace(rule, margin=0, release=0, smooth=0, hold=hold) for hold in range(8, -1, -1)]
    found = [tidegate_sim.trace.decided(golden, clips, rule)[None, "decision"] for rule in rules]
    at = next(k for k, (a, b) in enumerate(pairwise(found)) if (a != b).any())     # where one LSB makes a difference
    model = replace(model, detector=rules[at])
    report = verify(model, clips, lanes=[8], thresholds=[model.network.thresholds])
    assert report["mismatches"] > 0 and report["first_mismatch"]["stage"] == "decision"


def a_stream(model) -> np.ndarray:
    """All bundled clips as one stream, with pauses of 0.3 s."""
    heard = list(speech_frames(model, [clip.path for clip in clips()], 50 * len(clips())))
    return one_stream(model, heard, 15)


def test_a_board_that_listens_detects_what_a_host_detects():
    model = load_model("commands")
    frames, rule = a_stream(model), listening_stop(model)
    detections = Detector.of(model).accept(Golden(model).run(frames[:, None]).logits[:, 0])
    with Board.open("virtual", lanes=8) as board:
        board.load(model)
        board.stop = rule
        results = list(board.stream(frames))
    assert [(r.frame, r.label) for r in results if r.decided] == [(d.frame, d.label) for d in detections]
    assert len(detections) > 10 and len(results) == len(frames) > 1500
    report = verify(model, [frames], lanes=[8], thresholds=[model.network.thresholds], listening=rule)
    assert report["mismatches"] == 0 and report["decisions"] == len(detections)


@pytest.mark.parametrize("fault", [None, "a clip goes on when it is decided", "a clip goes on with the next request"])
def test_a_frame_that_is_run_after_a_decision_is_a_mismatch(fault):
    model = NETWORKS["one layer"]()
    clips = frames_of(model, 200)
    core = Broken(fault) if fault else CoreBoard()
    board = Board(FakeTransport(core))
    board.load(model)
    expected = _Expected(model, clips)
    run = _streamed(board, clips, expected.early)
    golden = expected.ending(Layout(model.network, core.design))
    count, first = compare(golden, run, core.design.lanes, model.network.thresholds)
    assert (golden[None, "run"] == 0).sum() > 50
    assert (count == 0) if fault is None else (count > 0 and golden[None, "run"][first.frame] == 0)


def test_one_wrong_bit_of_one_weight_is_named(monkeypatch):
    """A bit flips between golden and the board: the first integer that differs is the one that it feeds."""
    pack = Layout.pack

    def faulty(self, model):
        memory = pack(self, model)
        # neuron 9's r: 8·32 accumulator LSBs of bias, half an LSB of the gate's argument
        memory[self.bias_base + self.acc_words + self.layer_target[0] + self.words[0], 9] ^= 8
        return memory

    monkeypatch.setattr(Layout, "pack", faulty)
    model = NETWORKS["two layers"]()
    report = verify(model, frames_of(model, 40), thresholds=[model.network.thresholds])
    found = report["first_mismatch"]
    assert report["mismatches"] > 0
    assert (found["layer"], found["stage"], found["index"]) == (0, "r_arg", 9)
    assert abs(found["golden"] - found["rtl"]) == 1
    assert re.fullmatch(r"frame \d+: layer 0 r_arg\[9\] is -?\d+ in RTL, -?\d+ in golden .*", found["text"])


def test_clips_that_do_not_fit_into_memory_at_once(monkeypatch):
    """They are compared some at a time, and a mismatch still has its frame among all of them."""
    model = NETWORKS["two layers"]()
    clips = [clip for whole in frames_of(model, 60) for clip in (whole[:20], whole[20:])]
    each = {"thresholds": [model.network.thresholds]}
    whole = verify(model, clips, **each)
    monkeypatch.setattr(tidegate_sim.verify, "_HELD", 1)
    assert len(tidegate_sim.verify._parts(model, clips)) > 1
    parts = verify(model, clips, **each)
    same = ("frames", "integers", "mismatches")
    assert [parts[name] for name in same] == [whole[name] for name in same] and not parts["mismatches"]

    streamed = tidegate_sim.verify._streamed

    def wrong(board, part, *more):
        run = streamed(board, part, *more)
        if part[-1] is clips[-1]:
            run[None, "logits"] = run[None, "logits"].copy()
            run[None, "logits"][-1, 0] += 1
        return run

    monkeypatch.setattr(tidegate_sim.verify, "_streamed", wrong)
    assert verify(model, clips, **each)["first_mismatch"]["frame"] == sum(map(len, clips)) - 1
