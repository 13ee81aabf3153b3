"""Recipes as pydantic checks them: strict, frozen, and with one line for a mistake."""

import json
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from tidegate.host.audio import AudioError
from tidegate.host.frontend import FrontEndSettings
from tidegate.train.data.stream_options import Listening
from tidegate.train.errors import DataError
from tidegate.train.recipe import Augmentation, Recipe


@pytest.mark.parametrize("changes, message", [
    ({"delta": 1}, "delta must be a valid boolean, not 1"),
    ({"seed": 1.0}, "seed must be a valid integer, not 1.0"),
    ({"clip": True}, "clip must be a valid number, not true"),
    ({"clip": "2"}, 'clip must be a valid number, not "2"'),
    ({"clip": 10**400}, "clip must be "),
    ({"about": None}, "about must be a valid string, not null"),
    ({"keywords": "yes"}, 'keywords must be a valid array, not "yes"'),
    ({"gru": [True]}, "gru must be a valid integer, not true"),
    ({"gru": [], "thresholds": [1]}, "gru must have at least 1 item, not 0"),
    ({"budget_lanes": 0}, "budget_lanes must be greater than or equal to 1, not 0"),
    ({"agility": [2.0]}, r"agility lacks a value; it is \[2.0\]"),
    ({"agility": [1, 2, 3]}, "agility must have at most 2 items, not 3"),
    ({"agility": [2, 1]}, "agility is the lowest and the highest, not 2 and 1"),
    ({"unknown": "some"}, "unknown must be 'folder', 'auto' or 'none', not \"some\""),
    ({"sead": 1}, "there is no field 'sead'; known are name, about"),
    ({"augmentation": {"contxt": 1}}, "there is no field 'augmentation.contxt'; known are gain, noise"),
    ({"listening": {"chunk": 0}}, "listening.chunk must be greater than or equal to 1, not 0"),
    ({"listening": {"nothing": 0}}, "there is no field 'listening.nothing'; known are streams"),
    ({"listening": {"gap": [5, 5]}}, "listening.gap is two different numbers, not 5 twice"),
    ({"teacher": {"width": 8}}, "a teacher teaches on streams"),
    ({"learning_rate": float("nan")}, "learning_rate must be a finite number, not NaN"),
])
def test_a_mistake_is_one_line_with_the_recipe_and_the_field(recipe, changes, message):
    with pytest.raises(DataError, match=f"recipe 'tones': {message}") as error:
        Recipe.from_dict(recipe.to_dict() | changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a\nb", 3, None, "{x}"])
def test_any_name_of_a_recipe_that_is_refused_is_told_in_one_line(name):
    with pytest.raises(DataError) as error:
        Recipe.from_dict({"name": name, "epochs": 0})
    assert "\n" not in str(error.value) and str(error.value).startswith(f"recipe {name!r}: ")


def test_a_mistake_in_python_is_told_like_one_in_a_file(recipe):
    for make in (lambda: replace(recipe, epochs=0), lambda: Recipe("tones", epochs=0)):
        with pytest.raises(DataError, match="recipe 'tones': epochs must be greater than or equal to 1, not 0"):
            make()
    with pytest.raises(DataError, match="'tones': listening must be an instance of Listening, not 3"):
        replace(recipe, listening=3)


def test_the_front_end_keeps_its_own_checks(recipe):
    settings = FrontEndSettings(bands=20)
    assert Recipe.from_dict({"name": "x", "frontend": settings.to_dict()}).frontend == settings
    for wrong in ({"bands": "x"}, {"nothing": 1}, 3):
        with pytest.raises(AudioError):
            Recipe.from_dict(recipe.to_dict() | {"frontend": wrong})


def test_a_recipe_is_a_frozen_dataclass(recipe):
    whole = replace(recipe, listening=Listening(chunk=40), augmentation=Augmentation(snr=(3, 20)))
    again = pickle.loads(pickle.dumps(whole))
    assert again == whole and hash(again) == hash(whole) and again != recipe
    assert Recipe.from_dict(asdict(whole)) == whole
    with pytest.raises(FrozenInstanceError):
        whole.seed = 2


def test_numbers_stay_as_they_are_written():
    """The key of a sweep's point is made of a recipe's JSON."""
    d = {"budget": 700, "clip": 2, "augmentation": {"gain": 8, "noise": [-40, 0.0]}, "weight_decay": 1.0}
    told = Recipe.from_dict({"name": "x"} | d).to_dict()
    assert json.dumps([told["budget"], told["clip"], told["weight_decay"]]) == "[700, 2, 1.0]"
    assert json.dumps([told["augmentation"][k] for k in ("gain", "noise")]) == "[8, [-40, 0.0]]"


def test_a_verb_that_does_not_train_imports_no_pydantic():
    program = "import sys, tidegate, tidegate.train, tidegate.cli; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
