"""Tasks by their names; one that is no classification, from its registration to its figures."""

from dataclasses import dataclass, replace
from functools import partial
from math import sqrt

import numpy as np
import pytest
import torch

from tidegate.cli import main
from tidegate.spec.formats import acc_frac
from tidegate.spec.model import read_model
from tidegate.train import run
from tidegate.train.data import sequences
from tidegate.train.data.split import ALL_PARTS
from tidegate.train.data.stream_options import Listening
from tidegate.train.errors import DataError
from tidegate.train.fit.loop import Trainer
from tidegate.train.judge.evaluate import evaluate, evaluate_directory
from tidegate.train.recipe import Recipe
from tidegate.train.tasks import registry
from tidegate.train.tasks.arrays import ArrayTask
from tidegate.train.tasks.primary import ACCURACY, Primary

RECIPE = Recipe("slope", task="level", gru=(8,), thresholds=(8, 8), anneal=0.0, epochs=1, batch=16, decision_frames=2,
                learning_rate=0.05)


def levels(directory):
    """Noisy steps of a level, which is to be told: targets (clips, 1)."""
    rng = np.random.default_rng(5)
    targets = rng.uniform(-1, 1, (400, 1)).astype(np.float32)
    frames = (targets[:, None] + rng.normal(0, 0.1, (400, 12, 1))).astype(np.float32)
    parts = np.repeat([ALL_PARTS.index(part) for part in ("train", "validation", "test")], (300, 50, 50))
    return sequences.Sequences("", ("level",), frames, targets, parts, 12, 1, lambda x: x)


@dataclass(frozen=True)
class Levels(ArrayTask):
    """A regression: squared error, and as the figure its root, of which less is better."""

    primary = Primary("rms_error", share=False, lower=True)

    def loss(self, recipe, examples, train, device):
        def squares(logits, batch, frames):
            (last, target), = batch.decisions
            picked = [logits[(last - back).clamp_min(0), torch.arange(len(last))] for back in range(frames)]
            return sum(((p - target) ** 2).mean() for p in picked) / frames

        return squares

    def answers(self, model, logits, last, early):
        one = 1 << acc_frac(model.network.classifier.weight_frac)
        return logits[last, np.arange(len(last))] / one

    def metrics(self, labels, targets, answers):
        return {"rms_error": sqrt(float(((np.array(answers) - targets) ** 2).mean()))}


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))


@pytest.fixture
def level():
    registry.register(Levels("level", levels))


def test_a_registered_task_trains_and_is_judged(level, tmp_path, capsys, monkeypatch):
    path = run(None, RECIPE, tmp_path / "level.tidegate", progress=False)
    model = read_model(path)
    figures = evaluate_directory(model, None)
    assert figures == model.card["test"] | {"skipped": [], "warnings": []} and figures["utterances"] == 50
    assert 0 < figures["rms_error"] < 0.5 and not {"accuracy", "recall"} & set(figures) and model.frontend == {}
    header, row = (tmp_path / "level.log.csv").read_text().splitlines()
    assert header.startswith("number,loss,rms_error,")
    assert float(row.split(",")[2]) == model.card["validation"]["rms_error"]
    monkeypatch.setattr("sys.argv", ["tidegate", "eval", str(path)])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert f"test: rms_error {figures['rms_error']:.4g} on 50 clips; fetch reduction" in capsys.readouterr().out


def test_the_best_epoch_is_the_one_of_the_least_error(level, tmp_path):
    trainer = Trainer(replace(RECIPE, epochs=6, learning_rate=0.2), registry.find_task("level").load(RECIPE, None),
                      tmp_path / "level.tidegate")
    errors = [epoch.accuracy for epoch in trainer.epochs()]
    least = min(errors)
    assert len(set(errors)) == 6 and read_model(trainer.out).card["epoch"] == errors.index(least) + 1
    assert trainer.best == -least


def test_a_budget_costs_a_task_that_wants_less(level, tmp_path):
    examples = registry.find_task("level").load(RECIPE, None)
    trainer = Trainer(replace(RECIPE, budget=10.0), examples, tmp_path / "m.tidegate")
    figures = {"rms_error": 0.25, "events": [1, 1], "frames": 1}
    words = sum(trainer.columns)
    assert trainer._judge_epoch(figures)[:2] == (-0.25 - (words / 10 - 1), words)


def test_primary_figures():
    assert ACCURACY.phrase({"accuracy": 0.98765, "utterances": 81}) == "accuracy 98.77% on 81 clips"
    assert ACCURACY.phrase({"accuracy": 0.98765, "utterances": 81}, 1) == "accuracy 98.8% on 81 clips"
    error = Primary("error", share=False, lower=True)
    assert error.phrase({"error": 0.0123456}) == "error 0.01235 on ? clips"
    assert (error.score({"error": 2.0}), ACCURACY.score({"accuracy": 0.5})) == (-2.0, 0.5)


def test_a_package_adds_a_task_by_an_entry_point(tmp_path, monkeypatch):
    info = tmp_path / "waves-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: waves\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tidegate.tasks]\nwaves = waves:WAVES\nlost = waves:NOTHING\n"
                                           "gone = no_such_module:X\nwords = waves:WAVES\n")
    (tmp_path / "waves.py").write_text(
        "from tidegate.train.data.sequences import load_sequences\nfrom tidegate.train.tasks.arrays import ArrayTask\n"
        "WAVES = ArrayTask('waves', lambda directory: load_sequences('cue', directory))\n")
    monkeypatch.syspath_prepend(tmp_path)
    names = registry.task_names()
    assert names[:4] == ("words", "cue", "evidence", "mnist") and names[-3:] == ("waves", "lost", "gone")
    task = registry.find_task("waves")
    assert task is registry.find_task("waves") and task.load(Recipe("r", task="waves"), None).task == "waves"
    assert registry.find_task("words").name == "words"
    for name, value in (("lost", "waves:NOTHING"), ("gone", "no_such_module:X")):
        with pytest.raises(DataError, match=f"'{name}' cannot be loaded from '{value}' .*; repair its package"):
            registry.find_task(name)


def test_tasks_that_will_not_do(level, tmp_path):
    with pytest.raises(DataError, match=r"no task 'letters'; choose words, .*, series, ctc, level, or install"):
        run(None, Recipe("r", task="letters"), tmp_path / "r.tidegate", progress=False)
    with pytest.raises(DataError, match="there is a task 'cue' already; give yours another name"):
        registry.register(ArrayTask("cue", partial(sequences.load_sequences, "cue")))
    with pytest.raises(DataError, match="the task 'level' has no streams; leave 'listening' out"):
        run(None, replace(RECIPE, listening=Listening(clip_epochs=0)), tmp_path / "r.tidegate", progress=False)
    with pytest.raises(DataError, match="recipe 'slope' has the task 'level', and the examples are of the task 'cue'"):
        Trainer(RECIPE, sequences.load_sequences("cue"), tmp_path / "r.tidegate")


def test_a_model_is_judged_by_the_task_of_the_examples(level, tmp_path):
    path = run(None, RECIPE, tmp_path / "level.tidegate", progress=False)
    examples = registry.find_task("level").load(RECIPE, None)
    assert evaluate(read_model(path), examples, "all")["utterances"] == 400
