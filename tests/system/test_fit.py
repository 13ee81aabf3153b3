"""The verb fit: what a model needs of a board and how fast it would be."""

import json
from pathlib import Path

import numpy as np
import pytest
from command import fails, tidegate, write_model
from models import random_model

from tidegate import TidegateError, fit, load_model
from tidegate.host.bitstreams import MANIFEST, bitstreams_folder, read_manifest
from tidegate.spec.boards import board_spec
from tidegate.spec.cells import UNIT
from tidegate.spec.conv import Conv2d
from tidegate.spec.cycles import latency_cycles, steady_cycles
from tidegate.spec.design import SIMULATED
from tidegate.spec.energy import NOTE, estimate
from tidegate.spec.layer import Layer
from tidegate.spec.layout import Layout
from tidegate.spec.model import Model, expected_tensors, save_model
from tidegate.spec.network import Network
from tidegate.spec.rules import Diffuse


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
    assert speed["weight_words"] == pytest.approx(words)
    assert speed["effective_gops"] == pytest.approx(2 * 66176 * 50e6 / speed["cycles"] / 1e9)


def test_text_and_occupancy():
    done = tidegate("fit", "digits", "--occupancy", "10", "--occupancy", "20")
    assert done.returncode == 0 and "occupancy 10.0% 20.0%" in done.stdout and "weight memory words" in done.stdout
    for words in (("digits", "--occupancy", "10", "20"), ("--occupancy", "10", "20", "digits")):
        assert tidegate("fit", *words).stdout == done.stdout
    fails(tidegate("fit", "digits", "--occupancy", "10", "20", "30"), "one number for each of the model's 2 signals")
    for words in (("digits", "20"), ("digits", "commands", "--occupancy", "10"), ("digits", "--occupancy", "9", "900")):
        assert tidegate("fit", *words).returncode == 2
    fails(tidegate("fit", "digits", "--lanes", "7"), "no virtual board with 7 lanes")


def test_a_model_without_card_needs_an_occupancy(model):
    fails(tidegate("fit", model), "give --occupancy in percent")
    assert tidegate("fit", model, "--occupancy", "5").returncode == 0


def test_a_model_that_does_not_fit(tmp_path):
    done = tidegate("fit", write_model(tmp_path, gru=(600, 600)), "--lanes", "8", "--json")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "the model needs 416403 weight memory words, the board has 32768 (383635 too few); "
        "601 accumulator words, the board has 512 (89 too few); 1200 neurons, the board has 1024 (176 too few); "
        "use a smaller model or a board with more")
    report = json.loads(done.stdout)
    assert not report["fits"] and report["speed"] is None and report["energy_estimate"] is None
    assert [n["what"] for n in report["needs"] if n["need"] > n["have"]] == [
        "weight memory words", "accumulator words", "neurons"]


@pytest.mark.parametrize(("board", "lanes", "mhz"), [("icebreaker", 8, 24), ("ulx3s", 128, 100)])
def test_a_model_on_a_board(board, lanes, mhz):
    design = board_spec(board).design(lanes)
    layout = Layout(load_model("commands").network, design)
    done = tidegate("fit", "commands", "--board", board, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    speed = report["speed"]
    assert (report["board"], report["lanes"], speed["clock_mhz"]) == (board, lanes, mhz)
    assert [n["have"] for n in report["needs"]] == [n.have for n in layout.needs]
    assert speed["cycles"] == steady_cycles(layout, [share * n for share, n in
                                                     zip(speed["occupancy"], (40, 128), strict=True)])
    assert speed["duty"] == pytest.approx(62.5 * speed["cycles"] / mhz / 1e6) and speed["duty"] < 0.03
    done = tidegate("fit", "commands", "--board", board, "--lanes", str(lanes), "--clock", "12")
    assert done.returncode == 0 and f"commands on {board}, {lanes} lanes" in done.stdout and "at 12 MHz" in done.stdout
    assert done.stderr == ""


def test_a_model_that_decides_early():
    model = load_model("digits-early")
    done = tidegate("fit", "digits-early", "--json")
    speed = json.loads(done.stdout)["speed"]
    assert speed["early"] == {"frames_used": model.card["test"]["frames_used"], "cycles": speed["latency_cycles"]}
    assert "decided early: after 31% of a clip's frames, " in tidegate("fit", "digits-early").stdout
    assert "early" not in json.loads(tidegate("fit", "digits", "--json").stdout)["speed"]


def test_a_clock_that_the_bitstream_does_not_reach():
    fmax = read_manifest(bitstreams_folder("ulx3s") / MANIFEST).fmax_mhz
    done = tidegate("fit", "commands", "--board", "ulx3s", "--clock", "200")
    assert done.returncode == 0 and f"its bitstream runs at up to {fmax:.1f} MHz" in done.stderr


def test_a_clock_that_is_none():
    fails(tidegate("fit", "digits", "--clock", "inf"), "a clock of inf MHz is no board's; give 0.001 to 100000 MHz")
    for hertz in (float("nan"), 1e306, 0.1):
        with pytest.raises(TidegateError, match="is no board's"):
            fit("digits", clock=hertz)


def test_a_convolution_is_told_where_it_fits(tmp_path):
    """Neurons that are padded are called slots, and the design with an addresser is named."""
    conv = Conv2d(1, 6, 6, 4)
    layer = Layer(9 * 16, cell=UNIT, activation="identity", recurrent=False, consumes=True, conv=conv)
    network = Network(36, (layer,), Layer(3, consumes=True), (256, 256), (Diffuse(256), Diffuse(256)))
    tensors = {name: np.zeros(shape, dtype) for name, (dtype, shape) in expected_tensors(network).items()}
    tensors["frontend.scale"][:] = 1
    file = tmp_path / "m.tidegate"
    save_model(Model(network, tensors, tuple("abc")), file)
    done = tidegate("fit", file, "--board", "ulx3s", "--occupancy", "10")
    assert done.returncode == 1 and "--board ulx3s --lanes 16, or a virtual board" in done.stderr
    assert "neuron slots" in done.stdout and "the network has 144 neurons" in done.stdout
    done = tidegate("fit", file, "--board", "ulx3s", "--lanes", "16", "--occupancy", "10")
    assert done.returncode == 0 and "neuron slots" not in done.stdout
    for verb in ("fit", "build", "verify"):
        words = tidegate(verb, "--help").stdout.replace("│", " ").split()
        assert "icebreaker 8; ulx3s 128 or 16" in " ".join(words)


def test_boards_and_designs_that_there_are_not():
    fails(tidegate("fit", "commands", "--board", "nope"), "there is no board 'nope'; choose icebreaker, ulx3s")
    fails(tidegate("fit", "commands", "--board", "icebreaker", "--lanes", "64"),
          "there is no design with 64 lanes for icebreaker; choose 8")


def test_each_memory_that_is_too_small_is_named_with_what_it_lacks():
    design = board_spec("icebreaker").design()
    layout = Layout(Network(design.features + 1, (Layer(128), Layer(128)), Layer(12), (0,) * 3), design, check=False)
    done = tidegate("fit", f"{design.features + 1}-128-128-12", "--board", "icebreaker", "--occupancy", "10")
    assert done.returncode == 1
    short = [n for n in layout.needs if n.need > n.have]
    assert {n.what for n in short} >= {"weight memory words", "accumulator words", "features", "layers"}
    lacks = [f"{n.need} {n.what}, the board has {n.have} ({n.need - n.have} too few)" for n in short]
    assert done.stderr == (f"the model needs {'; '.join(lacks)}; use a smaller model or a board with more, such as the "
                           "virtual one with --lanes 8 (its first use compiles for some minutes)\n")
    assert "1 too few" in done.stdout and "GOp/s" not in done.stdout


def test_sizes_of_a_network_that_nobody_trained():
    """GRU-256 with 40 features on the ULX3S, at 90 % sparsity: 200 GOp/s and more with a clock of 100 MHz."""
    done = tidegate("fit", "40-256-12", "--board", "ulx3s", "--occupancy", "10", "--clock", "100", "--json")
    assert done.returncode == 0, done.stderr
    speed = json.loads(done.stdout)["speed"]
    layout = Layout(Network(40, (Layer(256),), Layer(12), (0, 0)), board_spec("ulx3s").design())
    assert speed["cycles"] == steady_cycles(layout, [4, 25.6]) and speed["temporal_sparsity"] == pytest.approx(0.9)
    assert speed["effective_gops"] == pytest.approx(2 * (40 * 768 + 256 * 780) * 100e6 / speed["cycles"] / 1e9)
    assert speed["effective_gops"] >= 200
    assert speed["frame_rate"] is None and speed["duty"] is None
    done = tidegate("fit", "40-256-12", "--board", "ulx3s", "--occupancy", "10")
    assert "(temporal sparsity 90.0%)" in done.stdout and "GOp/s effective" in done.stdout


@pytest.mark.parametrize(("sizes", "text"), [
    ("40-256-12", "nobody trained this network, so nothing says how often it fires; give --occupancy in percent"),
    ("40-12", "'40-12' lacks a size; give features-neurons-classes, such as 40-256-12"),
    (f"40-{'8-' * 33}12", "a network has 1 to 32 layers, not 33"), ("40-0-12", "a layer needs at least one neuron"),
    ("40-x-12", "no model '40-x-12'"), ("40--12", "no model '40--12'"),
])
def test_sizes_that_make_no_network(sizes, text):
    fails(tidegate("fit", sizes), text)


def test_a_file_goes_before_sizes(tmp_path):
    write_model(tmp_path, gru=(16,), thetas=(8, 8)).rename(tmp_path / "40-256-12")
    done = tidegate("fit", "40-256-12", "--occupancy", "5", "--json", cwd=tmp_path)
    assert {n["what"]: n["need"] for n in json.loads(done.stdout)["needs"]}["neurons"] == 16


def test_energy_is_an_estimate_that_says_so():
    done = tidegate("fit", "commands", "--occupancy", "10", "--seconds", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    energy, layout = report["energy_estimate"], Layout(load_model("commands").network, SIMULATED[64])
    words = 4 * 6 + 12.8 * 7
    delta, dense = estimate(layout, words), estimate(layout, 40 * 6 + 128 * 7)
    assert energy["note"] == NOTE and "ISSCC 2014" in energy["sources"][0] and energy["unit"] == "nJ"
    assert energy["frame"]["delta"] == pytest.approx(delta) and energy["frame"]["dense"] == pytest.approx(dense)
    assert energy["reduction"] == pytest.approx(dense["total"] / delta["total"]) and 8 < energy["reduction"] < 10
    assert energy["decision"]["frames"] == 31.25
    assert energy["decision"]["dense"] == pytest.approx(31.25 * dense["total"])
    assert energy["cycles"]["busy"] == report["speed"]["cycles"]
    assert sum(energy["cycles"].values()) == pytest.approx(100e6 / 62.5)


def test_a_model_without_front_end_has_no_seconds(tmp_path):
    save_model(random_model(), tmp_path / "bare.tidegate")
    done = tidegate("fit", tmp_path / "bare.tidegate", "--occupancy", "5")
    assert done.returncode == 0, done.stderr
    assert "dense / delta " in done.stdout and "a decision" not in done.stdout


def test_a_decision_takes_some_time():
    fails(tidegate("fit", "commands", "--seconds", "inf"), "a decision takes some seconds of sound, not inf")
    assert tidegate("fit", "commands", "--seconds", "-1").returncode == 2


def test_the_example_in_docs_is_what_fit_prints():
    page = (Path(__file__).parents[2] / "docs" / "energy.md").read_text(encoding="utf-8")
    example = page.split("<!-- example -->\n```\n")[1].split("\n```\n")[0]
    done = tidegate("fit", "commands")
    assert done.returncode == 0 and example + "\n" + NOTE[:60] in done.stdout


def test_a_board_without_the_cell_and_one_that_is_built_with_it():
    done = tidegate("fit", "40-64-12", "--cell", "lstm", "--board", "ulx3s", "--occupancy", 10)
    assert done.returncode == 1 and "--board BOARD --cells gru,lstm --to FOLDER" in done.stderr
    done = tidegate("fit", "40-64-12", "--cell", "lstm", "--board", "ulx3s", "--cells", "gru,lstm", "--occupancy", 10,
                    "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["speed"]["cycles"] > 0
    done = tidegate("fit", "40-2000-12", "--cell", "lstm", "--board", "ulx3s")
    assert done.returncode == 1 and "weight memory words" in done.stderr and "--cells" not in done.stderr
    fails(tidegate("fit", "40-64-12", "--cells", "gru"), "the virtual board has all cells")
