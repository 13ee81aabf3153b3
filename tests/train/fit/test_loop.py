from dataclasses import replace

import numpy as np
import pytest
import torch

from tidegate.golden import Golden
from tidegate.spec.model import read_model
from tidegate.train import run
from tidegate.train.data.features import load_features
from tidegate.train.data.folders import scan
from tidegate.train.errors import DataError
from tidegate.train.fit.checkpoint import checkpoint_path
from tidegate.train.fit.loop import Trainer
from tidegate.train.judge.evaluate import evaluate, evaluate_directory, padded
from tidegate.train.publish.card import card
from tidegate.train.recipe import Recipe


@pytest.fixture(scope="module")
def trained(write_words, recipe, tmp_path_factory):
    """(data folder, model file, cache folder) after training the four tones."""
    root, folder = write_words(clips=60, noise=True), tmp_path_factory.mktemp("trained")
    return root, run(root, recipe, folder / "tones.tidegate", cache=folder, progress=False), folder


@pytest.fixture(scope="module")
def features(write_words, recipe, tmp_path_factory):
    """A smaller data set's features."""
    return load_features(scan(write_words(clips=20)), recipe.frontend, tmp_path_factory.mktemp("cache"))


def test_training_learns_and_the_file_keeps_its_figures(trained, recipe, capsys):
    root, path, cache = trained
    model = read_model(path)
    assert model.labels == ("fall", "high", "low", "rise", "silence")
    assert model.network.thresholds == recipe.thresholds and model.frontend == recipe.frontend.to_dict()
    assert not checkpoint_path(path).exists()
    for part in ("validation", "test"):
        figures = evaluate_directory(model, root, part, cache)
        assert figures.pop("skipped") == [] and figures.pop("warnings") == []
        assert figures == model.card[part]
        assert figures["accuracy"] > 0.8 and figures["fetch_reduction"] > 1.5
    assert evaluate_directory(model, root, cache=cache)["part"] == "test"


def test_figures_are_counted_as_defined(trained, recipe):
    """Against the event-driven route, one unpadded clip after the other."""
    root, path, cache = trained
    model = read_model(path)
    features = load_features(scan(root), recipe.frontend, cache)
    figures, golden, net = evaluate(model, features, "test"), Golden(model), model.network
    right = frames = read = 0
    events = np.zeros(net.signals, np.int64)
    for _, _, lengths in padded(model, features, features.of("test")):
        frames += int(lengths.sum())
    for clip in features.of("test"):
        (_, sequence, _), = padded(model, features, np.array([clip]))
        state = golden.initial_state()
        for frame in sequence:
            trace, state = golden.step(frame, state)
            events += trace.events[0]
            read += int(trace.weights[0])
        right += int(trace.logits[0].argmax() == features.targets[clip])
    assert figures["utterances"] == len(features.of("test")) and figures["frames"] == frames
    assert figures["events"] == events.tolist()
    assert figures["accuracy"] == right / figures["utterances"]
    assert figures["weights"] == read
    assert figures["fetch_reduction"] == net.dense_weights * frames / read
    assert figures["temporal_sparsity"] == 1 - read / (net.dense_weights * frames)
    assert figures["occupancy"] == [e / (net.elements(s) * frames) for s, e in enumerate(events.tolist())]
    assert np.trace(figures["confusion"]) == right and np.sum(figures["confusion"]) == figures["utterances"]


def test_the_test_part_is_judged_once_in_the_end(features, recipe, tmp_path, monkeypatch):
    judged = []

    def spy(model, features, part, *options, **named):
        judged.append(part)
        return evaluate(model, features, part, *options, **named)

    monkeypatch.setattr("tidegate.train.fit.loop.evaluate", spy)
    out = tmp_path / "m.tidegate"
    for epoch in Trainer(replace(recipe, epochs=3, anneal=0.0), features, out).epochs():
        if epoch.number < 3:
            assert "test" not in read_model(out).card and "validation" in read_model(out).card
    assert judged.count("test") == 1 and judged[-1] == "test" and read_model(out).card["test"]["part"] == "test"


def test_resumed_equals_uninterrupted(features, recipe, tmp_path):
    recipe = replace(recipe, epochs=4)
    whole = list(Trainer(recipe, features, tmp_path / "a.tidegate").epochs())
    stopped = Trainer(recipe, features, tmp_path / "b.tidegate").epochs()
    first = [next(stopped), next(stopped)]
    rest = list(Trainer(recipe, features, tmp_path / "b.tidegate", resume=True).epochs())
    assert first + rest == whole
    assert (tmp_path / "a.tidegate").read_bytes() == (tmp_path / "b.tidegate").read_bytes()


def test_a_training_that_diverges_says_so(features, recipe, tmp_path):
    with pytest.raises(DataError, match=r"the training has diverged; choose a lower learning_rate"):
        trainer = Trainer(recipe, features, tmp_path / "a.tidegate")
        with torch.no_grad():
            trainer.network.classifier.bias[0] = torch.nan
        next(trainer.epochs())


@pytest.mark.parametrize("learned", [False, True])
def test_a_run_begins_with_the_weights_of_a_model(features, recipe, tmp_path, learned):
    recipe = replace(recipe, epochs=2, learn_thresholds=learned)
    list(Trainer(recipe, features, tmp_path / "a.tidegate").epochs())
    model = read_model(tmp_path / "a.tidegate")
    still = replace(recipe, learning_rate=1e-12, seed=9)
    list(Trainer(still, features, tmp_path / "b.tidegate", start=model).epochs())
    again = read_model(tmp_path / "b.tidegate")
    for name, tensor in model.tensors.items():
        assert np.array_equal(tensor, again.tensors[name]), name
    assert again.card["from"] == model.digest
    shifted = replace(model, tensors=model.tensors | {"frontend.mean": model.tensors["frontend.mean"] + 1})
    list(Trainer(still, features, tmp_path / "e.tidegate", start=shifted).epochs())
    kept = read_model(tmp_path / "e.tidegate").tensors["frontend.mean"]
    assert np.array_equal(kept, shifted.tensors["frontend.mean"])       # the weights were trained for it
    with pytest.raises(DataError, match="belongs to another recipe"):
        started = Trainer(recipe, features, tmp_path / "c.tidegate", start=model)
        next(started.epochs())
        Trainer(recipe, features, tmp_path / "c.tidegate", resume=True)
    sharper = replace(recipe.frontend, window_ms=recipe.frontend.window_ms + 8)
    floats = dict(rounding=False, delta=False, learn_thresholds=False)
    for change, text in ((dict(gru=(5,)), r"its layers: \[\d+\]; wanted: \[5\]"), (floats, "trains a float network"),
                         (dict(frontend=sharper), "it has another front end")):
        with pytest.raises(DataError, match=text):
            Trainer(replace(recipe, **change), features, tmp_path / "d.tidegate", start=model)
    other = replace(model, labels=("x", *model.labels[1:]))
    with pytest.raises(DataError, match=r"its labels: x, .*; wanted: "):
        Trainer(recipe, features, tmp_path / "d.tidegate", start=other)


def test_another_seed_gives_another_model(features, recipe, tmp_path):
    digests = set()
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        list(Trainer(replace(recipe, epochs=1, seed=seed), features, tmp_path / f"{name}.tidegate").epochs())
        digests.add(read_model(tmp_path / f"{name}.tidegate").digest)
    assert len(digests) == 2


def test_resume_refuses_what_does_not_belong(features, recipe, tmp_path):
    out = tmp_path / "a.tidegate"
    with pytest.raises(DataError, match="nothing to resume"):
        Trainer(recipe, features, out, resume=True)
    out.touch()
    with pytest.raises(DataError, match="its run has finished; train without resuming"):
        Trainer(recipe, features, out, resume=True)
    next(Trainer(recipe, features, out).epochs())
    with pytest.raises(DataError, match="another recipe"):
        Trainer(replace(recipe, seed=99), features, out, resume=True)


def test_silence_repeats(trained, recipe, tmp_path):
    root, _, cache = trained
    features = load_features(scan(root), recipe.frontend, cache)
    often = replace(recipe, augmentation=replace(recipe.augmentation, silence_repeats=3))
    once, thrice = (Trainer(r, features, tmp_path / "a.tidegate").train.tolist() for r in (recipe, often))
    silence = [i for i in once if features.targets[i] == features.labels.index("silence")]
    assert silence and sorted(thrice) == sorted(once + 2 * silence)


def test_thresholds_are_annealed_and_whole_in_the_end(features, recipe, tmp_path):
    trainer, seen = Trainer(replace(recipe, epochs=5, anneal=0.5), features, tmp_path / "a.tidegate"), []
    for _ in trainer.epochs():
        seen.append((tuple(trainer.network.thresholds), trainer.out.exists()))
    assert [t for t, _ in seen] == [(0, 0), (26, 13), (51, 26), (64, 32), (64, 32)]
    assert [written for _, written in seen] == [False, False, False, True, True]


def test_evaluating_with_other_words_is_an_error(trained, write_words):
    _, path, cache = trained
    root = write_words(words=("low", "high"), clips=30)
    (root / "low").rename(root / "deep")
    with pytest.raises(DataError, match=r"the model's classes .* are not the data set's .*, unknown;"):
        evaluate_directory(read_model(path), root, cache=cache)
    (root / "high").rename(root / "shrill")
    with pytest.raises(DataError, match="none of the model's words fall, high, low, rise, but deep, shrill; give"):
        evaluate_directory(read_model(path), root, cache=cache)
    with pytest.raises(DataError, match="no part 'tset'"):
        evaluate_directory(read_model(path), root, "tset", cache)


def test_card_tells_what_the_file_holds(trained, tmp_path):
    path = trained[1]
    model = read_model(path)
    text = card(model, "tones", path.stat().st_size)
    assert f"{model.card['test']['accuracy']:.2%}" in text and model.digest[:16] in text and "64/256, 32/256" in text


def test_recipes_round_trip_and_refuse_nonsense(recipe, tmp_path):
    recipe.write(tmp_path / "r.json")
    assert Recipe.read(tmp_path / "r.json") == recipe
    with pytest.raises(DataError, match="no recipe"):
        Recipe.read(tmp_path / "none.json")
    for text, message in (("{", "not a recipe"), ("[]", "JSON object"), ('{"nmae": "x"}', "no field 'nmae'"),
                          ("{}", "name is missing"), ('{"name": "x", "epochs": "2"}', 'integer, not "2"'),
                          ('{"name": "x", "augmentation": 3}', "r.json': augmentation must be an object, not 3"),
                          ('{"name": "x", "thresholds": [1]}', "need 2 thresholds"),
                          ('{"name": "x", "epochs": 0}', "r.json': epochs must be greater than or equal to 1")):
        (tmp_path / "r.json").write_text(text)
        with pytest.raises(DataError, match=message):
            Recipe.read(tmp_path / "r.json")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_is_one_line(features, recipe, tmp_path, content):
    out = tmp_path / "a.tidegate"
    next(Trainer(recipe, features, out).epochs())
    path = checkpoint_path(out)
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    with pytest.raises(DataError, match="no readable checkpoint") as error:
        Trainer(recipe, features, out, resume=True)
    assert "\n" not in str(error.value)


def test_a_checkpoint_that_cannot_be_written_is_one_line(features, recipe, tmp_path):
    trainer = Trainer(recipe, features, tmp_path / "no" / "a.tidegate")     # its first epoch writes no model yet
    with pytest.raises(DataError, match="cannot be written") as error:
        next(trainer.epochs())
    assert "\n" not in str(error.value)


def test_a_silent_network_has_no_fetch_reduction(features, recipe, tmp_path):
    silent = replace(recipe, epochs=1, thresholds=(4094, 4094))
    for epoch in Trainer(silent, features, tmp_path / "a.tidegate").epochs():
        assert epoch.fetch_reduction is None
    model = read_model(tmp_path / "a.tidegate")
    assert model.card["validation"]["temporal_sparsity"] == 1
    assert "| - |" in card(model, "silent", 1)


def test_an_unwritable_place_is_an_error(write_words, recipe, tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        run(write_words(clips=20), replace(recipe, epochs=1), tmp_path / "no" / "x.tidegate",
            cache=tmp_path / "cache", progress=False)


def test_an_interrupted_run_says_how_to_go_on_and_does(write_words, recipe, tmp_path, monkeypatch, capsys):
    root, out = write_words(clips=20), tmp_path / "a.tidegate"
    whole, seen = Trainer._train_epoch, []

    def interrupted(self, share):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(share)
        return whole(self, share)

    monkeypatch.setattr(Trainer, "_train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(root, recipe, out, cache=tmp_path)
    assert "2 epochs are kept; the same command with --resume goes on" in capsys.readouterr().err
    monkeypatch.setattr(Trainer, "_train_epoch", whole)
    run(root, recipe, out, cache=tmp_path, resume=True, progress=False)
    run(root, recipe, tmp_path / "b.tidegate", cache=tmp_path, progress=False)
    assert out.read_bytes() == (tmp_path / "b.tidegate").read_bytes()
    assert not checkpoint_path(out).exists()


def test_a_folder_is_no_place_for_a_model(write_words, recipe, tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        run(write_words(clips=20), recipe, tmp_path, cache=tmp_path / "cache", progress=False)
