"""The verb fit: what a model needs of a board and how fast it would be."""

import json

import pytest
from command import fails, tidegate, write_model

from tidegate import load_model
from tidegate.spec.cycles import latency_cycles, steady_cycles
from tidegate.spec.design import SIMULATED
from tidegate.spec.layout import Layout


def test_figures_of_a_shipped_model():
    done = tidegate("fit", "commands", "--lanes", "8", "--clock", "50", "--json")
    assert done.returncode == 0, done.stderr
    report, model = json.loads(done.stdout), load_model("commands")
    layout, speed = Layout(model.network, SIMULATED[8]), report["speed"]
    assert report["fits"] and report["needs"] == [
        {"what": n.what, "need": n.need, "have": n.have} for n in layout.needs]
    assert report["needs"][0] == {"what": "weight memory words", "need": layout.weight_words, "have": 32768}
    assert speed["occupancy"] == model.card["validation"]["occupancy"]
    events = [share * n for share, n in zip(speed["occupancy"], (40, 128), strict=True)]
    assert speed["cycles"] == steady_cycles(layout, events)
    assert speed["dense_cycles"] == steady_cycles(layout, [40, 128])
    assert speed["latency_cycles"] == latency_cycles(layout, events)
    assert speed["frames_per_second"] == pytest.approx(50e6 / speed["cycles"])
    assert speed["frame_rate"] == 62.5 and speed["duty"] == pytest.approx(62.5 * speed["cycles"] / 50e6)
    words = events[0] * 48 + events[1] * 50
    assert speed["weight_bytes_per_second"] == pytest.approx(62.5 * words * 8)
    assert speed["effective_gops"] == pytest.approx(2 * 66176 * 50e6 / speed["cycles"] / 1e9)


def test_text_and_occupancy():
    done = tidegate("fit", "digits", "--occupancy", "10", "--occupancy", "20")
    assert done.returncode == 0 and "occupancy 10.0% 20.0%" in done.stdout and "weight memory words" in done.stdout
    fails(tidegate("fit", "digits", *["--occupancy", "10"] * 3), "once for each of the model's 2 signals")
    fails(tidegate("fit", "digits", "--lanes", "7"), "no board with 7 lanes")


def test_a_model_without_card_needs_an_occupancy(model):
    fails(tidegate("fit", model), "give --occupancy in percent")
    assert tidegate("fit", model, "--occupancy", "5").returncode == 0


def test_a_model_that_does_not_fit(tmp_path):
    done = tidegate("fit", write_model(tmp_path, gru=(600, 600)), "--lanes", "8", "--json")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "the model needs 416403 weight memory words, the board has 32768; use a smaller model or a board with more")
    report = json.loads(done.stdout)
    assert not report["fits"] and report["speed"] is None
    assert [n["what"] for n in report["needs"] if n["need"] > n["have"]] == [
        "weight memory words", "accumulator words", "neurons"]
