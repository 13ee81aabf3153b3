"""The command line against a fake board on a pseudo-terminal: what the verbs print, and that --json is JSON."""

import json

import pytest
import soundfile
from command import fails, speech_model, tidegate, write_sound
from fake_board import DIGEST

from tidegate.clips import clips, expected_label
from tidegate.host.audio import read_audio
from tidegate.host.board import Board
from tidegate.host.errors import BoardError
from tidegate.host.figures import Cost, comparison
from tidegate.host.frontend import FrontEnd, FrontEndSettings
from tidegate.spec.design import SIMULATED


def expected(device, sound):
    """Results of the driver on the same features."""
    settings = FrontEndSettings()
    frames = FrontEnd(settings).accept(read_audio(sound, settings.sample_rate))
    with Board.open(device.port) as board:
        board.load(speech_model())
        return list(board.stream(frames))


def test_run_json_is_what_the_driver_says(device, model, tmp_path):
    sounds = [write_sound(tmp_path / f"{k}.wav", 0.3 + k / 10, seed=k) for k in range(3)]
    done = tidegate("run", *sounds, "--model", model, "--board", device.port, "--json")
    assert done.returncode == 0 and done.stderr == ""
    report = json.loads(done.stdout)
    assert report["lanes"] == 64 and report["dense"] is False
    for row, sound in zip(report["files"], sounds, strict=True):
        results = expected(device, sound)
        cost = Cost.of(results)
        assert row["file"] == str(sound)
        assert (row["decided"], row["confidence"]) == (results[-1].label, results[-1].confidence)
        assert (row["frames"], row["cycles"], row["weight_words"]) == (len(results), cost.cycles, cost.weight_words)
        assert tuple(row["events"]) == cost.events
        assert tuple(row["occupancy"]) == cost.occupancy(speech_model().network)


def test_run_prints_one_line_a_file(device, model, tmp_path):
    sounds = [write_sound(tmp_path / f"[b]{k}.wav", seed=k) for k in range(2)]
    done = tidegate("run", *sounds, "--model", model, "--board", device.port)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line, sound in zip(lines, sounds, strict=True):
        assert line.startswith(f"{sound}  {expected(device, sound)[-1].label}") and "30 frames" in line


def test_dense_mode(device, model, tmp_path):
    sound = write_sound(tmp_path / "x.wav")
    done = tidegate("run", sound, "--model", model, "--board", device.port, "--json", "--dense")
    assert json.loads(done.stdout)["dense"] is True and device.board.registers["MODE"] == 1


def test_demo_goes_through_every_clip(device, model):
    done = tidegate("demo", "--model", model, "--board", device.port, "--json")
    assert done.returncode == 0 and done.stderr == ""
    report = json.loads(done.stdout)
    assert [r["word"] for r in report["clips"]] == [c.word for c in clips()]
    totals = report["totals"]
    assert (totals["judged"], totals["right"]) == (0, 0)      # labels "a", "b", ...: no word to be right about
    for key in ("cycles", "dense_cycles", "weight_words", "dense_weight_words", "frames"):
        assert totals[key] == sum(r[key] for r in report["clips"]), key
    assert totals["speedup"] == totals["dense_cycles"] / totals["cycles"]
    assert device.board.frames == report["clips"][-1]["frames"]


def test_demo_text(device, model):
    done = tidegate("demo", "--model", model, "--board", device.port)
    assert done.returncode == 0 and done.stderr == ""
    rows = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert rows == ["spoken", *(c.word for c in clips()), "all"]


def test_what_a_model_should_say():
    words = ("zero", "up", "unknown", "silence")
    assert [expected_label(w, words) for w in ("up", "happy", "silence")] == ["up", "unknown", "silence"]
    assert [expected_label(w, tuple("0123456789")) for w in ("zero", "five", "up", "silence")] == ["0", "5", None, None]


def test_boards_json():
    report = json.loads(tidegate("boards", "--json").stdout)
    assert [v["lanes"] for v in report["virtual"]] == list(SIMULATED)
    assert isinstance(report["serial"], list)


def test_models_and_data_json():
    from tidegate import zoo
    from tidegate.train.data.fetch import SOURCES

    listed = json.loads(tidegate("models", "--json").stdout)
    assert [m["name"] for m in listed] == list(zoo.names())
    for entry in listed:
        assert entry["digest"] == zoo.load(entry["name"]).digest
    assert [s["name"] for s in json.loads(tidegate("data", "--json").stdout)] == list(SOURCES)


def test_train_and_eval(tmp_path, device):
    """From a folder of words to a model file that evaluates as its card says and runs on a board."""
    for clip in clips():
        if clip.word in ("zero", "one"):
            samples, rate = soundfile.read(clip.path)
            (tmp_path / clip.word).mkdir(exist_ok=True)
            for k in range(8):
                soundfile.write(tmp_path / clip.word / f"{clip.voice}{k}.wav", samples[100 * k :] * 0.8**k, rate)
    recipe = {"name": "mine", "gru": [8], "thresholds": [64, 32], "epochs": 2, "batch": 8}
    (tmp_path / "mine.json").write_text(json.dumps(recipe))
    model = tmp_path / "mine.tidegate"
    done = tidegate("train", tmp_path, "--recipe", tmp_path / "mine.json", "--out", model, "--json")
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)["card"]
    done = tidegate("eval", model, "--data", tmp_path, "--part", "test", "--json")
    assert done.returncode == 0, done.stderr
    assert {k: json.loads(done.stdout)[k] for k in card["test"]} == card["test"]
    assert tidegate("run", clips()[0].path, "--model", model, "--board", device.port).returncode == 0
    fails(tidegate("eval", model, "--data", tmp_path, "--part", "everything"), "no part 'everything'")


def test_every_verb_has_help_and_json():
    for verb in ("demo", "run", "train", "eval", "report", "verify", "fit", "bench", "models", "boards", "data",
                 "build", "flash", "selftest", "import", "export"):
        done = tidegate(verb, "--help")
        assert done.returncode == 0 and "--json" in done.stdout, verb


def test_refused_core(device):
    with pytest.raises(BoardError, match="the manifest says"):
        Board.open(device.port, expect_digest="00" * 32)
    Board.open(device.port, expect_digest=DIGEST.hex()).close()


def test_unknown_data_set(tmp_path):
    fails(tidegate("data", "letters", "--to", tmp_path), "no data set 'letters'")


def test_figures():
    """Occupancy, sparsity and reductions by hand for one network."""
    net = speech_model(gru=(20, 12), classes=4).network       # columns: 60, 60 + 36, 36 + 4 weights
    delta = Cost(frames=10, cycles=1000, weight_words=90, events=(40, 20, 12))
    dense = Cost(frames=10, cycles=4000, weight_words=720, events=(400, 200, 120))
    assert net.dense_weights == 40 * 60 + 20 * 96 + 12 * 40
    assert delta.occupancy(net) == (0.1, 0.1, 0.1)
    assert delta.weights_read(net) == 40 * 60 + 20 * 96 + 12 * 40
    assert delta.temporal_sparsity(net) == 0.9 and dense.temporal_sparsity(net) == 0.0
    assert comparison(delta, dense, net) == {"speedup": 4.0, "fetch_reduction": 10.0, "word_reduction": 8.0,
                                             "sparsity_efficiency": 0.4}
    assert delta + delta == Cost(20, 2000, 180, (80, 40, 24))
    silent = Cost(frames=10, cycles=300, weight_words=0, events=(0, 0, 0))
    assert comparison(silent, dense, net)["fetch_reduction"] is None
