"""Fine-tuning of a converted model."""

import numpy as np
import pytest
import torch

import tidegate
from tidegate.golden import Golden
from tidegate.golden.figures import figures
from tidegate.spec.errors import TidegateError


def task():
    """A model whose Θ are too large for it, and sequences with a pattern in the features that tells the class."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    patterns, y = rng.normal(0, 1, (3, 4, 8)), rng.integers(0, 3, 150)
    x = np.repeat(patterns[y], 5, 1) + rng.normal(0, 0.3, (150, 20, 8))
    return torch.nn.GRU(8, 16), torch.nn.Linear(16, 3), x, y


@pytest.mark.parametrize("readout", ["last", "mean", "frames"])
def test_it_learns_and_keeps_to_the_fetch_reduction(readout):
    rnn, linear, x, y = task()
    model = tidegate.from_torch(rnn, linear, (0, 0), calibration=x)
    tuned = tidegate.finetune(model, x, y, epochs=4, fetch_reduction=4, readout=readout, learning_rate=1e-2)
    trace = Golden(tuned).run(tuned.quantise(x).transpose(1, 0, 2))
    assert 4 <= figures(tuned.network, trace.events).fetch_reduction < 4.2
    logits = {"last": trace.logits[-1], "mean": trace.logits.mean(0), "frames": trace.logits}[readout]
    accuracy = (logits.argmax(-1) == y).mean()
    assert accuracy > 0.9
    assert tuned.card["finetuned"]["accuracy"] == pytest.approx(accuracy)
    assert tuned.labels == model.labels and tuned.card["conversion"] == model.card["conversion"]
    again = tidegate.finetune(model, x, y, epochs=4, fetch_reduction=4, readout=readout, learning_rate=1e-2)
    assert again.digest == tuned.digest


def test_the_best_epoch_on_sequences_held_out_is_kept():
    """What spoils the network is not kept: the model stays as it was, but for Θ."""
    rnn, linear, x, y = task()
    start = tidegate.finetune(tidegate.from_torch(rnn, linear, (0, 0), calibration=x), x, y, 4, 4, learning_rate=1e-2)
    said = start.card["finetuned"]
    assert 1 <= said["best"] <= 4 and (said["held_out"], said["sequences"]) == (30, 150)
    trace = Golden(start).run(start.quantise(x).transpose(1, 0, 2))
    assert said["occupancy"] == pytest.approx(list(figures(start.network, trace.events).occupancy))
    held = np.linspace(0, 149, 30).astype(int)
    wrong = np.where(np.isin(np.arange(150), held), y, (y + 1) % 3)         # what is learned is wrong
    spoiled = tidegate.finetune(start, x, wrong, 3, 4)
    assert spoiled.card["finetuned"]["best"] == 0
    assert all(np.array_equal(spoiled.tensors[name], tensor) for name, tensor in start.tensors.items())
    assert spoiled.card["finetuned"]["held_out_accuracy"] >= said["held_out_accuracy"] - 0.05
    few = tidegate.finetune(start, x[:40], y[:40], 1, 4)
    assert (few.card["finetuned"]["held_out"], few.card["finetuned"]["held_out_accuracy"]) == (0, None)


def test_refusals():
    rnn, linear, x, y = task()
    model = tidegate.from_torch(rnn, linear)
    for options, text in (({"epochs": 0}, "train nothing"), ({"learning_rate": float("nan")}, "train nothing"),
                          ({"fetch_reduction": 0.1}, "cannot be had")):
        with pytest.raises(TidegateError, match=text):
            tidegate.finetune(model, x, y, **options)
    for targets, text in ((None, "what is right"), (y[1:], "targets for 150 sequences")):
        with pytest.raises(TidegateError, match=text):
            tidegate.finetune(model, x, targets)
