"""A model that tells numbers, from a .csv to the virtual board; and frames from arrays in all verbs that take them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from command import fails, tidegate
from models import random_frames, random_model

from tidegate.golden import Golden
from tidegate.spec.model import read_model, save_model

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
from made_series import RECIPE, wave, write_wave


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with data, recipe and a trained model."""
    folder = tmp_path_factory.mktemp("wave")
    write_wave(folder / "wave.npz", outputs=2)
    RECIPE.write(folder / "wave.json")
    done = tidegate("train", "wave.npz", "--recipe", "wave.json", "--out", "m.tidegate", cwd=folder)
    assert done.returncode == 0 and "test: nrmse" in done.stdout, done
    return folder


def test_eval_prints_the_figures_of_each_output(made):
    done = tidegate("eval", made / "m.tidegate", "--data", made / "wave.npz")
    assert done.returncode == 0, done.stderr
    assert all(text in done.stdout for text in ("test: nrmse", "RMSE", "R²", "angle", " deg", "sum", "fetch reduction"))
    figures = json.loads(tidegate("eval", made / "m.tidegate", "--data", made / "wave.npz", "--json").stdout)
    assert figures["rmse"] == read_model(made / "m.tidegate").card["test"]["rmse"]


def test_the_board_tells_golden_s_numbers(made, compiled):
    """Every integer on real frames at three settings of Θ, and the numbers that the host makes of them."""
    model = read_model(made / "m.tidegate")
    done = tidegate("verify", made / "m.tidegate", "--data", made / "wave.npz", "-n", 120)
    assert done.returncode == 0 and "360 frames" in done.stdout and " 0 mismatches" in done.stdout, done
    short = made / "short.npz"
    np.savez(short, x=wave(frames=60)["x"].reshape(2, 30, 2))
    done = tidegate("run", short, "--model", made / "m.tidegate", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["files"]
    frames = model.quantise(wave(frames=60)["x"].reshape(2, 30, 2))
    told = model.numbers(Golden(model).run(frames.swapaxes(0, 1)).logits)
    assert [row["file"] for row in rows] == [f"{short}[0]", f"{short}[1]"]
    for k, row in enumerate(rows):
        assert np.array_equal(row["values"], told[:, k])
        assert row["numbers"] == dict(zip(model.labels, told[-1, k], strict=True))
    printed = tidegate("run", short, "--model", made / "m.tidegate").stdout
    assert "angle " in printed and " deg, sum " in printed and "30 frames" in printed


def test_report_and_fit(made):
    page = made / "page.html"
    done = tidegate("report", made / "m.tidegate", "--data", made / "wave.npz", "--out", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert all(part in text for part in ("nrmse", "angle, deg", ">target<", "the test part of", "events per frame"))
    assert "Confusion" not in text and "accuracy" not in text
    done = tidegate("report", made / "m.tidegate", "--clip", made / "wave.npz", "--out", page)
    assert done.returncode == 0 and "the frames" in page.read_text()
    done = tidegate("fit", made / "m.tidegate", "--data", made / "wave.npz", "--json")
    assert done.returncode == 0, done.stderr
    speed, model = json.loads(done.stdout)["speed"], read_model(made / "m.tidegate")
    trace = Golden(model).run(model.quantise(wave()["x"])[:, None])
    assert speed["occupancy"] == pytest.approx(trace.events[:, 0].mean(0) / [2, 12]) and speed["frame_rate"] == 100


def test_a_csv_becomes_a_series(tmp_path):
    (tmp_path / "a.csv").write_text("t,heat\n" + "".join(f"{k},{np.sin(k / 9)}\n" for k in range(400)))
    done = tidegate("data", "series", "a.csv", cwd=tmp_path)
    assert done.returncode == 0 and "400 frames of 1 features at 1 frames/s; to be told: heat" in done.stdout, done
    assert np.load(tmp_path / "a.series.npz")["x"].shape == (400, 1)
    fails(tidegate("data", "series", "a.csv", "--target", "cold", cwd=tmp_path), "has no column 'cold'")


def test_arrays_through_a_model_of_classes(tmp_path, compiled):
    model = random_model()
    save_model(model, tmp_path / "m.tidegate")
    frames = random_frames(1, 30).reshape(3, 10, 10)
    golden = Golden(model).run(frames.swapaxes(0, 1))
    right = golden.logits[-1].argmax(-1)
    np.savez(tmp_path / "x.npz", x=frames, y=right)
    np.save(tmp_path / "x.npy", frames)

    def verb(*arguments):
        return tidegate(*arguments, cwd=tmp_path)

    rows = json.loads(verb("run", "x.npy", "--model", "m.tidegate", "--json").stdout)["files"]
    assert [row["decided"] for row in rows] == [model.labels[k] for k in right]
    figures = json.loads(verb("eval", "m.tidegate", "--data", "x.npz", "--json").stdout)
    assert figures["accuracy"] == 1 and figures["part"] == "all" and figures["frames"] == 30
    cost = json.loads(verb("eval", "m.tidegate", "--data", "x.npy", "--json").stdout)
    assert "accuracy" not in cost and cost["occupancy"] == figures["occupancy"]
    assert "all: 3 sequences; fetch reduction" in verb("eval", "m.tidegate", "--data", "x.npy").stdout
    speed = json.loads(verb("fit", "m.tidegate", "--data", "x.npy", "--json").stdout)["speed"]
    assert speed["occupancy"] == pytest.approx(figures["occupancy"])
    assert verb("report", "m.tidegate", "--clip", "x.npy").returncode == 0
    assert "Events of one sequence" in (tmp_path / "m.report.html").read_text()


def test_bad_arrays_are_one_line_in_every_verb(tmp_path):
    save_model(random_model(), tmp_path / "m.tidegate")
    np.save(tmp_path / "wide.npy", np.zeros((5, 9)))
    np.save(tmp_path / "nan.npy", np.full((5, 10), np.nan))
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04nothing")
    np.savez(tmp_path / "y.npz", x=np.zeros((2, 5, 10)), y=[0, 9])
    (tmp_path / "a.wav").write_text("")
    verbs = {"run": lambda file: ("run", file, "--model", "m.tidegate"),
             "verify": lambda file: ("verify", "m.tidegate", "--data", file),
             "eval": lambda file: ("eval", "m.tidegate", "--data", file),
             "fit": lambda file: ("fit", "m.tidegate", "--data", file),
             "report": lambda file: ("report", "m.tidegate", "--clip", file)}
    for file, text in (("wide.npy", "this model needs numbers"), ("nan.npy", "NaN"), ("cut.npz", "cannot read"),
                       ("none.npy", "no file")):
        for arguments in verbs.values():
            fails(tidegate(*arguments(file), cwd=tmp_path), text)
    fails(tidegate(*verbs["eval"]("y.npz"), cwd=tmp_path), "y holds a class that the model has not")
    fails(tidegate("run", "a.wav", "wide.npy", "--model", "m.tidegate", cwd=tmp_path), "one kind at a time")
    fails(tidegate("run", "a.wav", "--model", "m.tidegate", cwd=tmp_path), "it hears no sound; give it frames")
    fails(tidegate("run", "m.tidegate", "wide.npy", cwd=tmp_path), "name the model by --model m.tidegate")
    fails(tidegate("run", "commands", cwd=tmp_path), "name the model by --model commands")
    (tmp_path / "text.csv").write_text("1,2")
    fails(tidegate("eval", "m.tidegate", "--data", "text.csv", cwd=tmp_path), "give it .npy or .npz files of frames")
    fails(tidegate("fit", "10-20-4", "--data", "wide.npy", cwd=tmp_path), "nobody trained")
    fails(tidegate("eval", "m.tidegate", "--data", "y.npz", "--part", "test", cwd=tmp_path), "have no parts")
