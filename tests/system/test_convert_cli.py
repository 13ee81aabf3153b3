"""The verb convert: a spiking model of a program, its report, and what cannot be converted."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from tidegate.commands.app import app
from tidegate.spec.model import read_model


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
    (folder / "damaged.pt2").write_bytes(b"PK no program")
    return folder


def called(*arguments):
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


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
    (["no.pt2", "-c", "train.npz"], "no network file"), (["train.npz", "-c", "train.npz"], "is no program of"),
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
