"""The verb convert: a spiking model of a program, its report, and what cannot be converted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from tidegate.commands import speech
from tidegate.commands.app import app
from tidegate.host.arrays import frame_sequences
from tidegate.spec.model import read_model, save_model
from tidegate_sim import verify as walk


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A network that tells in which quarter of a picture the bright spot is, and pictures."""
    folder, rng = tmp_path_factory.mktemp("convert"), np.random.default_rng(0)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
                           nn.Linear(128, 4))
    y = rng.integers(4, size=400)
    x = rng.integers(60, size=(400, 1, 8, 8), dtype=np.uint8)
    x[np.arange(400), 0, 1 + 4 * (y // 2), 2 + 4 * (y % 2)] = 255
    optimiser = torch.optim.Adam(module.parameters(), 0.02)
    for _ in range(60):
        loss = nn.functional.cross_entropy(module(torch.from_numpy(x).float() / 255), torch.from_numpy(y))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    program = torch.export.export(module.eval(), (torch.zeros(1, 1, 8, 8),))
    torch.export.save(program, folder / "net.pt2")
    np.savez(folder / "train.npz", x=x[:100])
    np.savez(folder / "test.npz", x=x[200:].astype(np.float32) / 255, y=y[200:])
    np.savez(folder / "many.npz", x=x[200:], y=y[200:] + 3)
    np.savez(folder / "wide.npz", x=x.repeat(2, 3))
    np.savez(folder / "large.npz", x=x.astype(np.float32))
    np.savez(folder / "binary.npz", x=x // 255)
    np.savez(folder / "judged.npz", x=x[200:], y=y[200:])
    np.savez(folder / "frames.npz", x=np.zeros((2, 5, 64), np.float32))
    for name, hears in (("scalar", torch.tensor(1.0)), ("rows", torch.zeros(1, 8, 8))):
        torch.export.save(torch.export.export(nn.ReLU(), (hears,)), folder / f"{name}.pt2")
    (folder / "net.onnx").write_bytes(b"")
    (folder / "damaged.pt2").write_bytes(b"PK no program")
    return folder


def called(*arguments, verb="convert"):
    return CliRunner().invoke(app, [verb, *map(str, arguments)])


@pytest.fixture(scope="module")
def model(files) -> Path:
    """The network, converted and judged."""
    out = files / "converted.tidegate"
    done = called(files / "net.pt2", "-c", files / "train.npz", "-j", files / "judged.npz", "-o", out)
    assert done.exit_code == 0, done.output
    assert "judging 200 images" in done.stderr and "balancing thresholds on 100 images" in done.stderr
    return out


def test_eval_takes_the_images_of_judge(files, model):
    said = read_model(model).card["conversion"]
    assert said["image"] == [1, 8, 8] and said["steps"] == 64 and said["images"] == 100
    for steps in (16, 64):
        done = called(model, "--data", files / "judged.npz", "--json", *("--steps", steps) * (steps != 64), verb="eval")
        assert done.exit_code == 0, done.output
        told, answers = json.loads(done.stdout), said["judged"]["answers"]
        assert told["frames"] == 200 * steps
        assert told["accuracy"] == answers["accuracy"][answers["steps"].index(steps)]
        assert told["weights"] == round(200 * answers["operations"][answers["steps"].index(steps)])


def test_images_are_held_frames(files, model):
    loaded = read_model(model)
    found = frame_sequences(loaded, [files / "judged.npz"], 3)
    x = np.load(files / "judged.npz")["x"]
    assert len(found) == 200 and found[7].source.endswith("judged.npz[7]") and found[7].frames.shape == (3, 64)
    assert np.array_equal(found[7].frames[2], loaded.quantise(x[7].reshape(-1) / 255))
    frames = frame_sequences(loaded, [files / "frames.npz"])       # as before: (N, T, features)
    assert [each.frames.shape for each in frames] == [(5, 64)] * 2


def test_run_and_verify_hold_images(files, model, monkeypatch):
    """What both give to a board; nothing is compiled."""
    heard = []
    monkeypatch.setattr(speech, "_run_sequences", lambda name, loaded, sequences, *_: heard.append(sequences))
    assert called(files / "judged.npz", "--model", model, "--steps", "4", verb="run").exit_code == 0
    assert len(heard[0]) == 200 and heard[0][0][1].shape == (4, 64)

    def compare(loaded, clips, *_, **more):
        heard.append(clips)
        return dict.fromkeys(("frames", "decisions", "frames_not_run", "integers", "mismatches"), 0) | {
            "thresholds": [], "lanes": [], "first_mismatch": None}
    monkeypatch.setattr(walk, "verify", compare)
    done = called(model, "--data", files / "judged.npz", "--steps", "4", "--frames", "10", verb="verify")
    assert done.exit_code == 0, done.output
    assert [len(frames) for frames in heard[1]] == [4, 4, 2]


def test_fit_and_report_know_what_was_measured(files, model, tmp_path):
    done = called(model, "--board", "ulx3s", "--lanes", "16", "--json", verb="fit")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["speed"]["occupancy"] == read_model(model).card["conversion"]["occupancy"]
    done = called(model, "--board", "ulx3s", "--lanes", "16", "--data", files / "judged.npz", "--steps", "4", "--json",
                  verb="fit")
    assert done.exit_code == 0 and 0 < json.loads(done.stdout)["speed"]["occupancy"][1] < 1
    page = tmp_path / "page.html"
    done = called(model, "--clip", files / "judged.npz", "--steps", "8", "--out", page, verb="report")
    assert done.exit_code == 0, done.output
    text = page.read_text(encoding="utf-8")
    assert "<h2>Conversion</h2>" in text and "additions per image" in text and "error of weights" in text
    assert "The first 8 frames" in text and "no figures of" not in text and "has no occupancy" not in text
    loaded = read_model(model)
    card = loaded.card["conversion"] | {"judged": {"answers": {"steps": [1]}}}
    save_model(replace(loaded, card={"conversion": card}), tmp_path / "damaged.tidegate")
    done = called(tmp_path / "damaged.tidegate", verb="report")
    assert done.exit_code != 0 and "conversion is damaged" in str(done.exception)


@pytest.mark.parametrize("arguments, text", [
    (["eval", "converted.tidegate", "-d", "wide.npz"], "or images (n, 1, 8, 8)"),
    (["eval", "converted.tidegate", "-d", "binary.npz"], "uint8 images of 0 and 1 only"),
    (["eval", "converted.tidegate", "-d", "large.npz"], "beyond 0..1"),
    (["eval", "converted.tidegate", "-d", "frames.npz", "--steps", "4"], "leave --steps out"),
    (["eval", "mnist-lif", "-d", ".", "--steps", "4"], "leave --steps out"),
    (["run", "a.wav", "--steps", "4"], "leave it out"),
    (["verify", "commands", "--steps", "4"], "leave it out"),
    (["verify", "converted.tidegate", "--against", "a.onnx", "--steps", "4"], "--steps cannot be used against a float"),
    (["fit", "converted.tidegate", "--steps", "4"], "images in --data"),
    (["report", "converted.tidegate", "--steps", "4"], "images in --clip"),
    (["import", "net.pt2"], "for a network of images use `tidegate convert`"),
    (["export", "converted.tidegate", "--out", "n.nir"], "is a convolution, and only")])
def test_what_is_refused_of_images(files, model, monkeypatch, arguments, text):
    monkeypatch.chdir(files)
    done = called(*arguments[1:], verb=arguments[0])
    assert done.exit_code != 0
    assert text in str(done.exception) and "\n" not in str(done.exception)


def test_a_network_of_neurons_in_a_row_takes_images_and_is_exported(tmp_path):
    """Images (n, features), and what --initial has to be for NIR."""
    rng = np.random.default_rng(1)
    module = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    program = torch.export.export(module.eval(), (torch.zeros(1, 6),))
    torch.export.save(program, tmp_path / "net.pt2")
    np.savez(tmp_path / "x.npz", x=rng.random((20, 6), np.float32), y=rng.integers(3, size=20))
    out, nir = tmp_path / "m.tidegate", tmp_path / "m.nir"
    for initial in ("0.5", "0"):
        assert called(tmp_path / "net.pt2", "-c", tmp_path / "x.npz", "--initial", initial, "-o", out).exit_code == 0
        done = called(out, "--out", nir, verb="export")
        assert (done.exit_code == 0) == (initial == "0")
        assert initial == "0" or "`convert --initial 0`" in str(done.exception)
    done = called(out, "-d", tmp_path / "x.npz", "--steps", "5", "--json", verb="eval")
    assert done.exit_code == 0 and json.loads(done.stdout)["frames"] == 100


def test_a_model_and_its_report(files, tmp_path):
    out = tmp_path / "m.tidegate"
    given = files / "net.pt2", "-c", files / "train.npz", "-j", files / "test.npz", "-o", out
    done = called(*given, "--labels", "a,b,c,d")
    assert done.exit_code == 0, done.output
    assert "pooling" not in done.output         # only a linear layer hears it
    assert "after 256 frames" in done.output and "error of rates" in done.output
    model = read_model(out)
    assert model.labels == ("a", "b", "c", "d") and model.network.layers[0].conv is not None
    done = called(*given, "--by-layer", "--json")
    told = json.loads(done.stdout)
    assert told["trained_accuracy"] > 0.95 and told["answers"]["accuracy"][-1] > told["trained_accuracy"] - 0.02
    assert told["answers"]["steps"] == [16, 32, 64, 128, 256] and not told["by_channel"]


@pytest.mark.parametrize("arguments, text", [
    (["no.pt2", "-c", "train.npz"], "no network file"), (["no.onnx", "-c", "train.npz"], "no network file 'no.onnx'"),
    ([".", "-c", "train.npz"], "'.' is a folder"), (["net.onnx", "-c", "train.npz"], "torch.export.save("),
    (["scalar.pt2", "-c", "train.npz"], "of 1 dimensions"), (["rows.pt2", "-c", "train.npz"], "of 3 dimensions"),
    (["net.pt2", "-c", "binary.npz"], "multiply them by 255"),
    (["train.npz", "-c", "train.npz"], "is no program of"),
    (["damaged.pt2", "-c", "train.npz"], "damaged.pt2"), (["net.pt2", "-c", "no.npz"], "no file"),
    (["net.pt2", "-c", "wide.npz"], "the network hears (images, 1, 8, 8)"),
    (["net.pt2", "-c", "large.npz"], "beyond 0..1"),
    (["net.pt2", "-c", "train.npz", "-j", "train.npz"], "right classes"),
    (["net.pt2", "-c", "train.npz", "-j", "many.npz"], "has class 6, the network tells 4"),
    (["net.pt2", "-c", "train.npz", "--balance", "luck"], "not on 'luck'"),
    (["net.pt2", "-c", "train.npz", "--initial", "1"], "less than 1"),
    (["net.pt2", "-c", "train.npz", "--labels", "a,b"], "has 4 classes, not 2"),
    (["net.pt2", "-c", "train.npz", "-o", "nowhere/m.tidegate"], "no folder")])
def test_what_cannot_be_converted(files, monkeypatch, arguments, text):
    monkeypatch.chdir(files)
    done = called(*arguments)
    assert done.exit_code != 0
    assert text in str(done.exception) and "\n" not in str(done.exception)
