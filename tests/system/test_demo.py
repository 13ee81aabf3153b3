"""The virtual board as a user meets it: the command, Ctrl-C, two in a row, every number of lanes."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from command import COMMAND, fails, tidegate, write_sound
from models import random_frames, random_model

from tidegate import Board, load_model
from tidegate.clips import clips
from tidegate.golden import Golden
from tidegate.host.features import features_of
from tidegate.spec.design import SIMULATED
from tidegate.spec.layout import Layout
from tidegate.spec.stop import first_decisions

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "early.md")


@pytest.mark.parametrize("lanes", [pytest.param(n, marks=() if n in (8, 64) else pytest.mark.slow) for n in SIMULATED])
def test_stream_equals_golden(lanes):
    model, frames = random_model(), random_frames(3, 300)
    trace = Golden(model).run(frames[:, None])
    with Board.open("virtual", lanes=lanes) as board:
        board.load(model)
        results = list(board.stream(frames))
    assert [r.logits for r in results] == [tuple(map(int, row)) for row in trace.logits[:, 0]]
    assert [r.events for r in results] == [tuple(map(int, row)) for row in trace.events[:, 0]]


def test_thresholds_and_dense_mode_at_run_time():
    model, frames = random_model(), random_frames(4, 200)
    with Board.open("virtual") as board:
        board.load(model)
        own = list(board.stream(frames))
        board.thresholds(0, 0, 0)
        zero = list(board.stream(frames))
        board.dense = True
        dense = list(board.stream(frames))
        board.dense = False
        board.thresholds(*model.network.thresholds)
        assert list(board.stream(frames)) == own
    assert [r.logits for r in dense] == [r.logits for r in zero]       # dense mode is Θ = 0 with every Δ sent
    assert all(r.events == (10, 20, 12) for r in dense)
    assert sum(r.cycles for r in own) < sum(r.cycles for r in zero) < sum(r.cycles for r in dense)
    golden = Golden(model.with_thresholds(0, 0, 0)).run(frames[:, None])
    assert [r.logits for r in zero] == [tuple(map(int, row)) for row in golden.logits[:, 0]]


def test_run_on_the_virtual_board(compiled, model):
    sounds = [c.path for c in clips()[:3]]
    done = tidegate("run", *sounds, "--model", model, "--json")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert [row["frames"] for row in json.loads(done.stdout)["files"]] == [61, 61, 61]


def test_demo_is_golden(compiled):
    """What the demo says of every clip is what golden says: the word, the events, the words of weights."""
    done = tidegate("demo", "--json")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    report = json.loads(done.stdout)
    model = load_model("commands")
    layout = Layout(model.network, SIMULATED[64])
    assert len(report["clips"]) == len(clips())
    for row, clip in zip(report["clips"], clips(), strict=True):
        frames = model.quantise(features_of(model, clip.path))
        trace = Golden(model).run(frames[:, None])
        events = trace.events[:, 0].sum(0)
        assert (row["word"], row["decided"]) == (clip.word, model.labels[trace.logits[-1, 0].argmax()])
        assert row["events"] == events.tolist()
        assert row["weight_words"] == int(events @ [c.length for c in layout.columns])
        assert row["dense_weight_words"] == layout.dense_words() * len(frames)
        assert row["cycles"] < row["dense_cycles"]


def test_early_demo_is_golden(compiled):
    """Every clip ends where golden's rule decides it; the dense core that it is compared with hears it to its end."""
    done = tidegate("demo", "--model", "digits-early", "--early", "--json")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    report = json.loads(done.stdout)
    model = load_model("digits-early")
    layout = Layout(model.network, SIMULATED[64])
    for row, clip in zip(report["clips"], clips(), strict=True):
        frames = model.quantise(features_of(model, clip.path))
        trace = Golden(model).run(frames[:, None])
        (at,), (label,), (decided,) = first_decisions(trace.logits, np.array([len(frames)]), model.stop)
        assert (row["decided"], row["decided_at"]) == (model.labels[label], int(at) if decided else None)
        assert (row["frames"], row["frames_used"]) == (at + 1, (at + 1) / len(frames))
        assert row["events"] == trace.events[: at + 1, 0].sum(0).tolist()
        assert row["dense_weight_words"] == layout.dense_words() * len(frames)
    assert 0.2 < report["totals"]["frames_used"] < 0.6
    assert "dense mode over the whole clips" in tidegate("demo", "--model", "digits-early", "--early").stdout


@pytest.mark.parametrize("arguments", [(), ("--model", "digits-early", "--early")], ids=["whole", "early"])
def test_the_excerpts_in_the_pages_are_what_it_prints(compiled, arguments):
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    (excerpt,) = (block for block in re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S)
                  if "spoken    decided" in block and ("after" in block) == bool(arguments))
    printed = [line.rstrip() for line in tidegate("demo", *arguments).stdout.splitlines()]
    assert not [line for line in excerpt.splitlines() if line != "..." and line.rstrip() not in printed]


def test_interrupt_stops_the_virtual_board_too(compiled, model, tmp_path):
    sound = write_sound(tmp_path / "x.wav")
    process = subprocess.Popen([*COMMAND, "run", *[str(sound)] * 2000, "--model", str(model)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline()                # it streams
    children = _children(process.pid)
    os.killpg(process.pid, signal.SIGINT)          # a terminal sends Ctrl-C to the whole group
    _, stderr = process.communicate(timeout=60)
    fails(subprocess.CompletedProcess([], process.returncode, "", stderr), "interrupted", code=130)
    time.sleep(0.2)
    assert not any(_alive(pid) for pid in children)
    assert tidegate("run", sound, "--model", model).returncode == 0


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(p) for p in found.stdout.split()]


def _alive(pid: int) -> bool:
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(found) and not found.startswith("Z")
