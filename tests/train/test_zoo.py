"""What ships: the files belong together, and the figures on the cards are those of the models."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tidegate import zoo
from tidegate.spec.errors import ModelError
from tidegate.spec.model import read_model
from tidegate.train.data.series_sources import read_source, write_records
from tidegate.train.judge.evaluate import evaluate_directory
from tidegate.train.publish.card import card
from tidegate.train.recipe import Recipe
from tidegate.train.study.plan import read_plan
from tidegate.train.tasks.registry import find_task

AGILE = (0.5, 2.0)        # factors on Θ between which the agile model is compared
DATA = Path(__file__).parents[2] / "../shared/data"
needs = {name: pytest.mark.skipif(not (DATA / name).is_dir(), reason=f"needs the data set ../shared/data/{name}")
         for name in ("fsdd", "speech_commands", "series")}


def same_figures(measured, card):
    """The network is exact; the front end's floating-point FFT leaves room for a clip in a thousand."""
    assert measured["frames"] == card["frames"] and measured["utterances"] == card["utterances"]
    for figure in ("accuracy", "temporal_sparsity"):
        assert abs(measured[figure] - card[figure]) <= 1e-3 + 1 / card["utterances"]


@pytest.mark.parametrize("name", zoo.names())
def test_model_recipe_and_card_belong_together(name):
    model, recipe = zoo.load(name), Recipe.read(zoo.recipe_path(name))
    assert Recipe.from_dict(model.card["recipe"]) == recipe and recipe.name == name
    assert (model.network.thresholds == recipe.thresholds) != recipe.learn_thresholds
    assert model.frontend == find_task(recipe.task).front_end(recipe)
    assert tuple(layer.size for layer in model.network.layers) == recipe.gru
    size = zoo.path(name).stat().st_size
    assert size < 1_000_000
    assert zoo.path(name).with_suffix(".md").read_text() == card(model, name, size)


@needs["fsdd"]
@pytest.mark.parametrize("name, accuracy, fetch_reduction", [("digits", 0.98, 12), ("digits-wide", 0.99, 11.9)])
def test_digits_on_the_usual_test_set(name, accuracy, fetch_reduction, tmp_path):
    model = zoo.load(name)
    figures = evaluate_directory(model, DATA / "fsdd", "test", tmp_path)
    assert figures["utterances"] == 300
    assert figures["accuracy"] >= accuracy and figures["fetch_reduction"] >= fetch_reduction
    same_figures(figures, model.card["test"])


@needs["fsdd"]
def test_one_network_for_a_range_of_thresholds(tmp_path):
    model = zoo.load("digits-agile")
    careful, frugal = (evaluate_directory(model.turned(factor), DATA / "fsdd", "test", tmp_path) for factor in AGILE)
    assert frugal["fetch_reduction"] >= 3 * careful["fetch_reduction"]
    assert frugal["accuracy"] >= careful["accuracy"] - 0.02 and careful["accuracy"] >= 0.97


@needs["series"]
def test_the_steering_angle_of_the_test_part(tmp_path):
    model = zoo.load("steering")
    write_records(read_source(DATA / "series/driving/segment.npz", smooth=0.3), tmp_path / "steering.npz")
    figures = evaluate_directory(model, tmp_path / "steering.npz", "test", tmp_path)
    assert figures["nrmse"] < 0.7 and figures["fetch_reduction"] > 29
    assert figures["nrmse"] == pytest.approx(model.card["test"]["nrmse"], abs=1e-3)


@pytest.mark.slow
@needs["speech_commands"]
@pytest.mark.parametrize("name, accuracy, size", [("commands", 0.93, 80_000), ("commands-int4", 0.91, 40_000)])
def test_commands_on_the_validation_list(name, accuracy, size, tmp_path):
    model = zoo.load(name)
    figures = evaluate_directory(model, DATA / "speech_commands", "validation", tmp_path)
    assert figures["accuracy"] >= accuracy and figures["temporal_sparsity"] >= 0.88
    assert model.network.weight_bytes <= size
    same_figures(figures, model.card["validation"])


def test_the_card_of_commands_says_how_unheard_words_are_rejected():
    twin = zoo.load("commands").card["left_out"]
    assert twin["recipe"]["leave_out"] == ["happy", "cat"] and twin["unseen"]["utterances"] > 3000
    assert twin["unseen"]["rejected"] >= 0.7
    assert twin["rejection"]["recall"] >= twin["rejection"]["recall_before"] - 0.01


def test_load_by_name_or_path(tmp_path):
    assert zoo.load("digits").digest == zoo.load(zoo.path("digits")).digest == read_model(zoo.path("digits")).digest
    for wrong in ("nothing", tmp_path / "x.tidegate", tmp_path):
        with pytest.raises(ModelError, match="no model"):
            zoo.load(wrong)
    with pytest.raises(ModelError, match="digits"):
        zoo.path("nothing")


@pytest.mark.parametrize("name, task", [("steering", "series"), ("machine-temperature", "series"),
                                        ("digit-strings", "ctc")])
def test_a_dense_twin_differs_in_what_is_sent_alone(name, task):
    recipe, twin = (Recipe.read(zoo.recipe_path(each)) for each in (name, f"{name}-dense"))
    assert recipe.task == task and set(twin.thresholds) == {0} and recipe.budget
    sparse = {"name", "about", "thresholds", "learn_thresholds", "budget"}
    assert all(twin.to_dict()[field] == value for field, value in recipe.to_dict().items() if field not in sparse)


def test_the_recipe_on_the_page_of_series_is_one():
    text = (Path(__file__).parents[2] / "docs/regression.md").read_text()
    recipe = Recipe.from_dict(json.loads(text.partition("```json\n")[2].partition("```")[0]))
    assert recipe.task == "series" and recipe.series is not None


def test_the_recipe_on_the_page_of_strings_is_one_and_the_sweep_compares_the_twins():
    text = (Path(__file__).parents[2] / "docs/strings.md").read_text()
    recipe = Recipe.from_dict(json.loads(text.partition("```json\n")[2].partition("```")[0]))
    assert recipe.task == "ctc" and recipe.strings is not None
    twin = Recipe.read(zoo.recipe_path("digit-strings-dense"))
    points = read_plan("digit-strings").points()
    dense = [point.recipe for point in points if point.label == "dense"]
    assert len(points) == 10 and all(replace(each, name=twin.name, about=twin.about, seed=1) == twin for each in dense)
