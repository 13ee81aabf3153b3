"""Readouts of strings: the model file and its digest, the text of a string, and what is refused."""

import json
from dataclasses import replace

import pytest
from safetensors import safe_open

from tidegate.spec.errors import ModelError
from tidegate.spec.model import read_model, save_model
from tidegate.spec.readout import Readout
from tidegate.spec.stop import Stop
from tidegate.spec.tokens import Tokens
from tidegate_sim.random_networks import random_model


@pytest.fixture
def model():
    return replace(random_model(4, [6], 3, seed=1, extreme=False), tokens=Tokens(2), labels=("7", "8", "blank"))


def test_a_file_keeps_it_and_its_digest_covers_it(model, tmp_path):
    path = tmp_path / "m.tidegate"
    save_model(model, path)
    assert read_model(path).tokens == Tokens(2) and read_model(path).digest == model.digest
    with safe_open(path, framework="numpy") as f:
        description = json.loads(f.metadata()["tidegate"])
    assert description["version"] == 6 and description["tokens"] == {"blank": 2, "beam": 1}
    others = [model.with_beam(4), replace(model, tokens=Tokens(0)), replace(model, tokens=None)]
    assert len({model.digest, *(other.digest for other in others)}) == 4
    assert model.read_by(None).tokens is None and model.read_by(Tokens(1)).tokens == Tokens(1)
    numbers = Readout(("",) * 3, (0.0,) * 3, (1.0,) * 3)
    assert model.read_by(numbers).readout == numbers and model.read_by(numbers).tokens is None


def test_models_without_it_are_as_before(tmp_path):
    save_model(random_model(4, [6], 3, seed=1, extreme=False), tmp_path / "m.tidegate")
    with safe_open(tmp_path / "m.tidegate", framework="numpy") as f:
        description = json.loads(f.metadata()["tidegate"])
    assert description["version"] == 1 and "tokens" not in description


def test_text():
    assert Tokens(2).text(("7", "8", "blank"), [0, 1, 1]) == "788"
    assert Tokens(0).text(("blank", "two", "o"), [1, 2]) == "two o"
    assert Tokens(2).text(("7", "8", "blank"), []) == ""


@pytest.mark.parametrize("wrong", [{"blank": -1}, {"blank": 1.0}, {"beam": 0}, {"beam": 1001}, {"beam": True},
                                   {"blank": None}])
def test_what_makes_none(wrong):
    with pytest.raises(ModelError, match=r"blank|beam"):
        Tokens.from_dict({"blank": 2, "beam": 1} | wrong)


def test_what_does_not_fit_a_model(model):
    with pytest.raises(ModelError, match="the blank 3 among the labels; the network has 3"):
        replace(model, tokens=Tokens(3))
    with pytest.raises(ModelError, match="leave its stop rule, detector and readout out"):
        replace(model, stop=Stop(100))
    with pytest.raises(ModelError, match="answers with strings, so it cannot decide early"):
        model.deciding(3.0)
    with pytest.raises(ModelError, match="leave --beam out"):
        replace(model, tokens=None).with_beam(2)
