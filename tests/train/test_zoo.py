"""What ships: the files belong together, and the figures on the cards are those of the models."""

from pathlib import Path

import pytest

from tidegate import zoo
from tidegate.spec.errors import ModelError
from tidegate.spec.model import read_model
from tidegate.train.card import card
from tidegate.train.evaluate import evaluate_directory
from tidegate.train.recipe import Recipe

DATA = Path(__file__).parents[2] / "../shared/data"
needs = {name: pytest.mark.skipif(not (DATA / name).is_dir(), reason=f"needs the data set ../shared/data/{name}")
         for name in ("fsdd", "speech_commands")}


def same_figures(measured, card):
    """The network is exact; the front end's floating-point FFT leaves room for a clip in a thousand."""
    assert measured["frames"] == card["frames"] and measured["utterances"] == card["utterances"]
    for figure in ("accuracy", "temporal_sparsity"):
        assert abs(measured[figure] - card[figure]) <= 1e-3 + 1 / card["utterances"]


@pytest.mark.parametrize("name", zoo.names())
def test_model_recipe_and_card_belong_together(name):
    model, recipe = zoo.load(name), Recipe.read(zoo.recipe_path(name))
    assert Recipe.from_dict(model.card["recipe"]) == recipe and recipe.name == name
    assert model.network.thresholds == recipe.thresholds and model.frontend == recipe.frontend.to_dict()
    assert tuple(layer.size for layer in model.network.gru) == recipe.gru
    size = zoo.path(name).stat().st_size
    assert size < 1_000_000
    assert zoo.path(name).with_suffix(".md").read_text() == card(model, name, size)


@needs["fsdd"]
def test_digits_on_the_usual_test_set(tmp_path):
    model = zoo.load("digits")
    figures = evaluate_directory(model, DATA / "fsdd", "test", tmp_path)
    assert figures["utterances"] == 300
    assert figures["accuracy"] >= 0.97 and figures["fetch_reduction"] >= 6
    same_figures(figures, model.card["test"])


@pytest.mark.slow
@needs["speech_commands"]
def test_commands_on_the_validation_list(tmp_path):
    model = zoo.load("commands")
    figures = evaluate_directory(model, DATA / "speech_commands", "validation", tmp_path)
    assert figures["accuracy"] >= 0.88 and figures["temporal_sparsity"] >= 0.8
    same_figures(figures, model.card["validation"])


def test_load_by_name_or_path(tmp_path):
    assert zoo.load("digits").digest == zoo.load(zoo.path("digits")).digest == read_model(zoo.path("digits")).digest
    for wrong in ("nothing", tmp_path / "x.tidegate", tmp_path):
        with pytest.raises(ModelError, match="no model"):
            zoo.load(wrong)
    with pytest.raises(ModelError, match="digits"):
        zoo.path("nothing")
