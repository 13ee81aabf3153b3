"""Readouts: the formula, the model file and its digest, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open

from tidegate.spec.errors import ModelError
from tidegate.spec.model import read_model, save_model
from tidegate.spec.readout import Readout
from tidegate.spec.stop import Stop
from tidegate_sim.random_networks import random_model

READOUT = Readout(("deg", ""), (20.0, -1.5), (4.0, 0.25), 100.0)


@pytest.fixture
def model():
    return replace(random_model(4, [6], 2, seed=1, extreme=False), readout=READOUT, labels=("angle", "sum"))


def test_values_follow_the_formula(model):
    one = 1 << 8 + model.network.classifier.weight_frac
    logits = np.array([[0, 0], [one, -2 * one], [one // 2, 1]])
    assert np.array_equal(model.numbers(logits), [[20, -1.5], [24, -2], [22, -1.5 + 0.25 / one]])
    assert READOUT.text(model.labels, [1.23456, 2]) == "angle 1.235 deg, sum 2"
    with pytest.raises(ModelError, match="stand for no numbers"):
        replace(model, readout=None).numbers(logits)


def test_a_file_keeps_the_readout_and_its_digest_covers_it(model, tmp_path):
    path = tmp_path / "m.tidegate"
    save_model(model, path)
    assert read_model(path).readout == READOUT
    assert read_model(path).digest == model.digest
    with safe_open(path, framework="numpy") as f:
        assert json.loads(f.metadata()["tidegate"])["version"] == 5
    others = [replace(READOUT, scale=(4.0, 0.5)), replace(READOUT, units=("rad", "")), replace(READOUT, rate=None),
              None]
    assert len({model.digest, *(replace(model, readout=other).digest for other in others)}) == 5
    changed = path.read_bytes().replace(b'[4.0, 0.25]', b'[4.0, 0.75]').replace(b'[4.0,0.25]', b'[4.0,0.75]')
    changed = changed.replace(rb'\"scale\": [4.0, 0.25]', rb'\"scale\": [4.0, 0.75]')
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    with pytest.raises(ModelError, match="damaged"):
        read_model(path)


def test_models_without_one_are_as_before(tmp_path):
    model = random_model(4, [6], 2, seed=1, extreme=False)
    save_model(model, tmp_path / "m.tidegate")
    with safe_open(tmp_path / "m.tidegate", framework="numpy") as f:
        description = json.loads(f.metadata()["tidegate"])
    assert description["version"] == 1 and "readout" not in description


@pytest.mark.parametrize("wrong", [
    {"units": ("deg",)}, {"offset": (1.0, float("nan"))}, {"scale": (1.0, 0.0)}, {"scale": (1.0, "2")},
    {"offset": (1.0, True)}, {"rate": 0.0}, {"rate": float("inf")}])
def test_what_makes_no_readout(wrong):
    with pytest.raises(ModelError) as error:
        replace(READOUT, **wrong)
    assert "\n" not in str(error.value)


def test_a_model_that_tells_numbers_has_no_best_class(model):
    for wrong in ({"stop": Stop(1)}, {"detector": Stop(1, stream=True)}):
        with pytest.raises(ModelError, match="no best class"):
            replace(model, **wrong)
    with pytest.raises(ModelError, match="answers with numbers"):
        model.deciding(2.0)
    with pytest.raises(ModelError, match="the readout has 2 outputs, the network has 3"):
        replace(random_model(4, [6], 3, seed=1, extreme=False), readout=READOUT)
