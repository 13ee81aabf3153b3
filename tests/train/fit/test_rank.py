"""Rank coding: what the loss sees, what is skipped, and that a network learns to decide early."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tidegate.golden import DeltaNetwork, Golden
from tidegate.spec.model import read_model, save_model
from tidegate.spec.stop import Stop, first_decisions
from tidegate.train.data.augment import Batch
from tidegate.train.data.features import load_features
from tidegate.train.data.folders import scan
from tidegate.train.errors import DataError
from tidegate.train.fit.loop import Trainer
from tidegate.train.fit.rank import until_decided
from tidegate.train.judge.evaluate import evaluate, padded
from tidegate.train.recipe import Recipe


@pytest.fixture(scope="module")
def early(recipe):
    return replace(recipe, stop_margin=1.5, epochs=12, seed=6)


@pytest.fixture(scope="module")
def features(write_words, recipe, tmp_path_factory):
    return load_features(scan(write_words(clips=40)), recipe.frontend, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def trained(early, features, tmp_path_factory):
    """(trainer, model) after the whole recipe."""
    out = tmp_path_factory.mktemp("early") / "tones.tidegate"
    trainer = Trainer(early, features, out)
    list(trainer.epochs())
    return trainer, read_model(out)


def batch_of(trainer: Trainer) -> Batch:
    return trainer.augmenter(trainer.train[:24], torch.Generator().manual_seed(1))


def test_a_batch_ends_where_its_last_member_has_decided(trained):
    trainer, model = trained
    batch = batch_of(trainer)
    (last, target), = batch.decisions
    cut = until_decided(trainer.network, batch, model.stop, trainer.network.thresholds)
    (at, same), = cut.decisions
    exported = trainer.network.export(model.labels, model.frontend, trainer.mean, trainer.scale)
    expected, _, _ = first_decisions(Golden(exported).run(batch.frames.numpy().astype(int)).logits, last.numpy() + 1,
                                     model.stop)
    assert at.tolist() == expected.tolist() and torch.equal(same, target)
    assert len(cut.frames) == int(at.max()) + 1 < len(batch.frames)
    assert torch.equal(cut.frames, batch.frames[: len(cut.frames)])


@pytest.mark.parametrize("reward", [0.0, 0.3])
def test_the_loss_is_that_of_the_deciding_frames(trained, features, tmp_path, reward):
    """The cut batch's loss and gradients are those of the deciding frames, by hand on the whole batch."""
    model = trained[1]
    recipe = replace(trained[0].recipe, sparsity_cost=0.0, entropy_reward=reward)
    trainer = Trainer(recipe, features, tmp_path / "m.tidegate")
    trainer.network, trainer.epoch = trained[0].network, recipe.epochs - 1
    batch, parameters = batch_of(trainer), list(trainer.network.parameters())
    (at, target), = until_decided(trainer.network, batch, model.stop, trainer.network.thresholds).decisions
    loss = trainer._loss(batch, 1.0, 1.0, torch.Generator())
    logits = trainer.network(batch.frames).logits[at, torch.arange(len(at))]
    p = logits.softmax(-1)
    expected = torch.nn.functional.cross_entropy(logits, target) + reward * (p * p.log()).sum(-1).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for got, wanted in zip(*(torch.autograd.grad(x, parameters) for x in (loss, expected)), strict=True):
        assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-6) and got.any()


def test_a_first_frame_that_decides_is_a_decision():
    """Also for class 0: "nothing yet" has a value of its own."""
    net = DeltaNetwork(2, [3], 2)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net.classifier.bias[0] = 5.0
    frames, last = torch.zeros(9, 4, 2), torch.full((4,), 8)
    cut = until_decided(net, Batch(frames, [(last, torch.zeros(4, dtype=torch.long))]), Stop(100), [0, 0])
    assert cut.decisions[0][0].tolist() == [0] * 4 and len(cut.frames) == 1


def test_it_learns_to_decide_early(trained, features, early):
    _, model = trained
    assert model.stop == early.stop(model.labels) == Stop(192)
    figures, whole = (evaluate(model, features, "validation", early=x) for x in (True, False))
    assert figures == model.card["validation"]
    assert figures["accuracy"] > 0.8 and figures["frames_used"] < 0.75 and figures["decided"] > 0.8
    assert figures["decision_reduction"] > whole["fetch_reduction"]
    assert figures["margin"] == 1.5 and "frames_used" not in whole


def test_figures_are_counted_as_defined(trained, features):
    """One clip after the other by the event-driven route, until it has decided."""
    _, model = trained
    figures, golden = evaluate(model, features, "validation", early=True), Golden(model)
    used, right, weights, frames = [], 0, 0, 0
    for clip in features.of("validation"):
        (_, sequence, _), = padded(model, features, np.array([clip]))
        state, logits = golden.initial_state(), []
        for frame in sequence:
            trace, state = golden.step(frame, state)
            logits.append(trace.logits)
            weights += int(trace.weights[0])
            _at, which, met = first_decisions(np.array(logits), np.array([len(logits)]), model.stop)
            if met[0]:
                break
        used.append(len(logits) / len(sequence))
        frames += len(sequence)
        right += int(which[0] == features.targets[clip])
    clips = len(used)
    assert figures["accuracy"] == right / clips and figures["frames_used"] == pytest.approx(np.mean(used))
    assert figures["weights"] == weights and figures["weights_per_decision"] == weights / clips
    assert figures["decision_reduction"] == model.network.dense_weights * frames / weights
    assert weights / clips / 64 <= figures["weight_words_per_decision"] <= weights / clips


def test_the_rule_is_in_the_file(trained, tmp_path):
    _, model = trained
    save_model(model, tmp_path / "m.tidegate")
    again = read_model(tmp_path / "m.tidegate")
    assert again.stop == model.stop and again.digest == model.digest
    assert replace(model, stop=None).digest != model.digest
    assert model.deciding(3.0).stop == Stop(384)


def test_resumed_equals_uninterrupted(features, early, tmp_path):
    recipe = replace(early, epochs=4, stop_from=0.5, entropy_reward=0.1)
    whole = list(Trainer(recipe, features, tmp_path / "a.tidegate").epochs())
    stopped = Trainer(recipe, features, tmp_path / "b.tidegate").epochs()
    first = [next(stopped), next(stopped), next(stopped)]
    assert first + list(Trainer(recipe, features, tmp_path / "b.tidegate", resume=True).epochs()) == whole
    assert (tmp_path / "a.tidegate").read_bytes() == (tmp_path / "b.tidegate").read_bytes()


def test_only_epochs_that_decide_early_are_kept(features, early, tmp_path):
    trainer = Trainer(replace(early, epochs=5, anneal=0.2, stop_from=0.6), features, tmp_path / "a.tidegate")
    assert [trainer._early(epoch) for epoch in range(5)] == [False, False, False, True, True]
    kept = [trainer.out.exists() for _ in trainer.epochs()]
    assert kept == [False, False, False, True, True]


@pytest.mark.parametrize(("fields", "message"), [
    ({"stop_margin": -1.0}, r"stop margin is a lead from 0 to 511\.992"),
    ({"stop_margin": 1e4}, r"stop margin is a lead from 0 to 511\.992"),
    ({"stop_margin": 2.0, "stop_hold": 256}, "hold off 0 to 255 frames"),
    ({"stop_margin": 2.0, "reject": 0.01}, "needs rounding, and no reject"),
    ({"stop_margin": 2.0, "stop_from": 1.0}, "stop_from must be less than 1, not 1.0"),
    ({"stop_margin": 2.0, "entropy_reward": -0.1}, "entropy_reward must be greater than or equal to 0, not -0.1"),
    ({"entropy_reward": 0.1}, "are of use with a stop_margin"),
    ({"stop_from": 0.5}, "are of use with a stop_margin"),
])
def test_recipes_that_make_no_sense(fields, message):
    with pytest.raises(DataError, match=message):
        Recipe("bad", **fields)


def test_without_a_rule_nothing_is_decided_early(features, recipe, tmp_path):
    list(Trainer(replace(recipe, epochs=1), features, tmp_path / "a.tidegate").epochs())
    model = read_model(tmp_path / "a.tidegate")
    assert model.stop is None
    with pytest.raises(DataError, match="has no stop rule; give a --margin"):
        evaluate(model, features, "validation", early=True)
