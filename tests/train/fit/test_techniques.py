"""Each technique of a recipe, switched on alone: what it does to the model, the log and the file."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from tidegate.golden import Golden
from tidegate.spec.model import read_model
from tidegate.train.data.features import load_features
from tidegate.train.data.folders import leave_out, scan
from tidegate.train.data.stream_options import Listening
from tidegate.train.errors import DataError
from tidegate.train.fit.log import log_path
from tidegate.train.fit.loop import Trainer, column_words
from tidegate.train.fit.reject import with_rejection
from tidegate.train.judge.evaluate import evaluate, last_logits
from tidegate.train.recipe import Augmentation
from tidegate.train.tasks.classify import class_weights


@pytest.fixture(scope="module")
def features(write_words, recipe, tmp_path_factory):
    return load_features(scan(write_words(clips=30)), recipe.frontend, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def open_set(write_words, recipe, tmp_path_factory):
    """Two keywords; two unknown words, of which one is never heard in training."""
    data = leave_out(scan(write_words(clips=60), ("low", "rise")), ("fall",))
    return load_features(data, recipe.frontend, tmp_path_factory.mktemp("cache"))


def train(features, recipe, folder, **changes):
    """(model, log) after training with these changes of the recipe."""
    trainer = Trainer(replace(recipe, **changes), features, folder / "a.tidegate")
    epochs = list(trainer.epochs())
    assert trainer.log == epochs
    return read_model(folder / "a.tidegate"), epochs


def test_a_budget_is_kept_with_fixed_and_with_learned_thresholds(features, recipe, tmp_path):
    free, epochs = train(features, recipe, tmp_path, sparsity_cost=0.0, epochs=30)
    budget = 0.85 * epochs[-1].words_per_frame
    for learn in (False, True):
        model, epochs = train(features, recipe, tmp_path, sparsity_cost=0.0, epochs=60, budget=budget,
                              learn_thresholds=learn, threshold_rate=0.5)
        chosen = epochs[model.card["epoch"] - 1]
        assert chosen.words_per_frame <= 1.05 * budget and chosen.accuracy > 0.8
        assert (model.network.thresholds == free.network.thresholds) != learn
        figures = model.card["validation"]
        assert figures["weights"] / figures["frames"] == pytest.approx(chosen.words_per_frame)


def test_words_are_those_of_the_lanes(features, recipe, tmp_path):
    trainer = Trainer(recipe, features, tmp_path / "a.tidegate")
    net = trainer.network.network
    assert column_words(net, 1) == [net.column_weights(s) for s in range(net.signals)]
    assert column_words(net, 16) == [3, 3 + 1]             # GRU 16 on 16 lanes: a word a gate, one for the classes


def test_dense_training_with_thresholds_post_hoc(features, recipe, tmp_path):
    post_hoc, _ = train(features, recipe, tmp_path, delta=False, sparsity_cost=0.0)
    dense, _ = train(features, recipe, tmp_path, thresholds=(0, 0), sparsity_cost=0.0)
    assert post_hoc.network.thresholds == recipe.thresholds and dense.network.thresholds == (0, 0)
    first, second = (Trainer(replace(recipe, sparsity_cost=0.0, **changes), features, tmp_path / "b.tidegate")
                     for changes in ({"delta": False}, {"thresholds": (0, 0)}))
    for trainer in (first, second):
        list(trainer.epochs())
    for name, parameter in first.network.named_parameters():
        assert torch.equal(parameter, second.network.get_parameter(name))
    assert post_hoc.card["validation"]["fetch_reduction"] > 1.3 * dense.card["validation"]["fetch_reduction"]


def test_without_rounding_a_float_gru_is_trained_and_rounded_in_the_end(features, recipe, tmp_path):
    changes = {"rounding": False, "delta": False, "sparsity_cost": 0.0}
    model, epochs = train(features, recipe, tmp_path, **changes)
    assert epochs[-1].accuracy > 0.8 and model.network.thresholds == recipe.thresholds
    trainer = Trainer(replace(recipe, **changes), features, tmp_path / "b.tidegate")
    for parameter, exported in (("weight_ih_l0", "weight_ih"), ("weight_hh_l0", "weight_hh")):
        tensor = trainer.network.gru.get_parameter(parameter).detach().numpy()
        made = trainer._model({})
        frac = made.network.layers[0].weight_frac
        assert np.abs(made.tensors[f"gru.0.{exported}"] / 2.0 ** frac - tensor).max() < 0.01


def test_narrow_weights_are_in_force_after_the_annealing(features, recipe, tmp_path):
    model, epochs = train(features, recipe, tmp_path, weight_bits=(4, 8), weight_fracs=(3, 7), epochs=12)
    assert [layer.weight_bits for layer in (*model.network.layers, model.network.classifier)] == [4, 8]
    assert max(np.abs(model.tensors[f"gru.0.weight_{k}"]).max() for k in ("ih", "hh")) <= 7
    assert np.abs(model.tensors["classifier.weight"]).max() > 7
    assert epochs[-1].accuracy > 0.8
    assert model.network.weight_bytes == (3 * 16 * 12 + 3 * 16 * 16) // 2 + 4 * 16


def test_agility_draws_a_factor_for_every_batch(features, recipe, tmp_path):
    trainer = Trainer(replace(recipe, agility=(0.5, 4.0)), features, tmp_path / "a.tidegate")
    rng = torch.Generator().manual_seed(0)
    factors = np.array([trainer._factor(rng) for _ in range(500)])
    assert 0.5 <= factors.min() < 0.6 and 3.5 < factors.max() <= 4.0
    assert np.median(factors) == pytest.approx(2**0.5, rel=0.15)
    assert trainer._thresholds(1.0, 2.0) == [128, 64] and trainer._whole_thresholds(1.0) == [64, 32]


def test_noise_on_h_changes_training_but_not_the_exported_network(features, recipe, tmp_path):
    plain, _ = train(features, recipe, tmp_path, epochs=1)
    noisy, _ = train(features, recipe, tmp_path, epochs=1, hidden_noise=0.1)
    same, _ = train(features, recipe, tmp_path, epochs=1, hidden_noise=0.1)
    assert noisy.digest == same.digest != plain.digest
    assert evaluate(noisy, features, "validation") == noisy.card["validation"]


def test_patience_ends_a_run_that_does_not_get_better(features, recipe, tmp_path):
    stuck = {"learning_rate": 1e-9, "anneal": 0.0, "thresholds": (4094, 4094)}
    _, epochs = train(features, recipe, tmp_path, patience=2, epochs=6, **stuck)
    assert len(epochs) == 6                                 # a tie is no worse: the later epoch is taken
    _, epochs = train(features, recipe, tmp_path, patience=2, epochs=40, learning_rate=0.02)
    best = max((e.accuracy, e.number) for e in epochs if e.thresholds == recipe.thresholds)[1]
    assert len(epochs) == min(40, best + 2)


@pytest.mark.parametrize("changes", [
    {"learn_thresholds": True, "budget": 300.0}, {"weight_bits": (4, 8), "weight_fracs": (4, 7)}, {"hidden_noise": 0.1},
    {"agility": (0.5, 2.0)}, {"rounding": False, "delta": False}, {"patience": 3, "balance": 1.0}], ids=str)
def test_a_stopped_run_goes_on_as_if_it_never_stopped(features, recipe, tmp_path, changes):
    recipe = replace(recipe, epochs=4, **changes)
    whole = list(Trainer(recipe, features, tmp_path / "a.tidegate").epochs())
    stopped = Trainer(recipe, features, tmp_path / "b.tidegate").epochs()
    first = [next(stopped), next(stopped)]
    assert first + list(Trainer(recipe, features, tmp_path / "b.tidegate", resume=True).epochs()) == whole
    assert (tmp_path / "a.tidegate").read_bytes() == (tmp_path / "b.tidegate").read_bytes()
    other = replace(features, energies=features.energies * 2)
    with pytest.raises(DataError, match="another recipe or data set"):
        Trainer(recipe, other, tmp_path / "b.tidegate", resume=True)


def test_the_log_beside_the_model_has_a_row_an_epoch(features, recipe, tmp_path):
    _, epochs = train(features, recipe, tmp_path)
    rows = list(csv.DictReader(log_path(tmp_path / "a.tidegate").open()))
    assert [float(r["accuracy"]) for r in rows] == [e.accuracy for e in epochs]
    assert [r["thresholds"] for r in rows][-1] == "64 32"


def test_class_weights():
    targets = np.array([0] * 90 + [1] * 10)
    assert class_weights(targets, 2, 0.0).tolist() == [1, 1]
    even = class_weights(targets, 2, 1.0)
    assert even[0] * 90 == pytest.approx(float(even[1] * 10)) and even[0] * 90 + even[1] * 10 == pytest.approx(100)


def test_words_left_out_are_heard_by_nobody(open_set, recipe, tmp_path):
    model, _ = train(open_set, recipe, tmp_path, keywords=("low", "rise"), leave_out=("fall",))
    assert len(open_set.of("unseen")) == 60 == model.card["unseen"]["utterances"]
    row = model.card["unseen"]["confusion"][2]
    assert model.card["unseen"]["rejected"] == row[2] / 60
    trained = Trainer(recipe, open_set, tmp_path / "b.tidegate").train.tolist()
    assert not set(trained) & set(open_set.of("unseen"))


def test_only_unknown_words_can_be_left_out(write_words):
    with pytest.raises(DataError, match="no unknown word 'rise' to leave out; there are fall, high"):
        leave_out(scan(write_words(clips=20), ("low", "rise")), ("rise",))


def test_rejection_gives_up_no_more_keywords_than_allowed(open_set, recipe, tmp_path):
    model, _ = train(open_set, recipe, tmp_path, keywords=("low", "rise"), epochs=3)
    clips = open_set.of("validation")
    keywords = clips[open_set.targets[clips] < 2]

    def recall(m):
        return (last_logits(m, open_set, keywords).argmax(1) == open_set.targets[keywords]).mean()

    for loss in (0.0, 0.2, 0.5):
        strict, told = with_rejection(model, open_set, loss)
        assert recall(strict) == told["recall"] and recall(model) == told["recall_before"]
        assert told["recall"] >= told["recall_before"] - loss
        values = strict.tensors["classifier.bias"] - model.tensors["classifier.bias"]
        assert values[:2].tolist() == [0, 0] and values[2] == told["bias"] * 2 ** Golden(model).logit_frac
        if loss < recall(model):                            # it stays one LSB below: two more are a keyword too many
            more = strict.tensors["classifier.bias"] + np.array([0, 0, 2], np.int32)
            assert recall(replace(strict, tensors=strict.tensors | {"classifier.bias": more})) < recall(model) - loss


@pytest.mark.parametrize("changes, message", [
    ({"rounding": False}, "set delta to false"),
    ({"delta": False, "budget": 5.0}, "need delta"),
    ({"budget": 5.0, "agility": (1.0, 2.0)}, "agility is without a budget"),
    ({"agility": (0.0, 2.0)}, "agility must be greater than 0, not 0.0"),
    ({"budget": 0.0}, "budget must be greater than 0, not 0.0"),
    ({"learn_thresholds": True, "thresholds": (0, 4)}, "start at 1"),
    ({"thresholds": (64, 5000)}, "thresholds must be less than or equal to 4094, not 5000"),
    ({"thresholds": (-1, 0)}, "thresholds must be greater than or equal to 0, not -1"),
    ({"weight_decay": -1.0}, "weight_decay must be greater than or equal to 0, not -1"),
    ({"sparsity_cost": -1.0}, "sparsity_cost must be greater than or equal to 0"),
    ({"weight_bits": (4,)}, "need 2 weight_bits"),
    ({"weight_bits": (4, 8)}, "weight_bits need weight_fracs"),
])
def test_recipes_that_make_no_sense_are_one_line(recipe, changes, message):
    with pytest.raises(DataError, match=message) as error:
        replace(recipe, **changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part, changes, message", [
    (Augmentation, {"tail": -5}, "augmentation.tail must be greater than or equal to 0, not -5"),
    (Augmentation, {"stretch": float("nan")}, "augmentation.stretch must be a finite number, not NaN"),
    (Augmentation, {"noise": (0.0, -40.0)}, "the lowest and the highest"),
    (Augmentation, {"snr": (5.0, float("inf"))}, "augmentation.snr must be"),
    (Augmentation, {"silence_repeats": 0}, "silence_repeats must be greater than or equal to 1"),
    (Listening, {"snr": (5.0, float("inf"))}, "listening.snr must be"),
    (Listening, {"colour": float("nan")}, "listening.colour must be"),
    (Listening, {"gap": (9, 9)}, "two different numbers"),
    (Listening, {"speech": (200, 60)}, "the lowest and the highest"),
    (Listening, {"shares": (0.0,) * 5}, "all 0"),
    (Listening, {"smoothed": 9}, "smoothed must be less than or equal to 3, not 9"),
])
def test_numbers_of_a_recipe_have_ranges(part, changes, message):
    with pytest.raises(DataError, match=message) as error:
        part(**changes)
    assert "\n" not in str(error.value)
