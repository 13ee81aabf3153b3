"""Judging a model needs no training clips: test sets that a user brings."""

import shutil

import numpy as np
import pytest
import soundfile

from tidegate.golden import Golden
from tidegate.host.features import settings_of
from tidegate.spec.model import read_model
from tidegate.spec.stop import Stop, clearest
from tidegate.train import run
from tidegate.train.data.features import load_features
from tidegate.train.data.folders import scan
from tidegate.train.errors import DataError
from tidegate.train.judge.evaluate import evaluate, evaluate_directory

WORDS = ("low", "high")


@pytest.fixture(scope="module")
def trained(write_words, recipe, tmp_path_factory):
    """(corpus, cache, model with unknown and silence, model of all four words and nothing else)"""
    from dataclasses import replace

    root, cache = write_words(clips=40, noise=True), tmp_path_factory.mktemp("cache")
    open_set = replace(recipe, keywords=WORDS, epochs=4)
    closed = replace(recipe, silence="none", epochs=4)
    models = [read_model(run(root, r, cache / f"{k}.tidegate", cache=cache, progress=False))
              for k, r in enumerate((open_set, closed))]
    return root, cache, *models


def copied(root, to, words, clips=7):
    """A corpus of the first clips of some words; its folder."""
    for word in words:
        (to / word).mkdir(parents=True)
        for path in sorted((root / word).iterdir())[:clips]:
            shutil.copy(path, to / word)
    return to


def listed(folder, name="testing_list.txt"):
    """All clips of the folder named in the list."""
    paths = sorted(p.relative_to(folder).as_posix() for p in folder.glob("*/*.wav") if not p.parent.name[0] == "_")
    (folder / name).write_text("\n".join(paths))
    return folder


def test_a_corpus_with_test_clips_only(trained, tmp_path):
    root, cache, open_set, closed = trained
    for words, noise in ((WORDS, False), ((*WORDS, "rise"), False), (WORDS, True), ((*WORDS, "rise", "fall"), True)):
        own = listed(copied(root, tmp_path / f"{len(words)}{noise}", words))
        if noise:
            shutil.copytree(root / "_background_noise_", own / "_background_noise_")
        for part in (None, "test", "all"):
            figures = evaluate_directory(open_set, own, part, cache)
            rows = dict(zip(open_set.labels, np.sum(figures["confusion"], 1), strict=True))
            assert (rows["low"], rows["high"], rows["unknown"]) == (7, 7, 7 * (len(words) - 2))
            assert (rows["silence"] > 0) == noise
            assert figures["part"] == (part or "test") and figures["accuracy"] > 0.6
            assert (figures["recall"]["silence"] is None) != noise and figures["warnings"] == []
        with pytest.raises(DataError, match=r"no clip that can be used is in the unseen part; there are .*"
                                            r"\d+ clips in test.*--part all"):
            evaluate_directory(open_set, own, "unseen", cache)
    figures = evaluate_directory(closed, listed(copied(root, tmp_path / "one", ("rise",), 1)), "test", cache)
    assert figures["utterances"] == 1 and figures["recall"]["low"] is None


def test_the_figures_are_those_of_the_whole_corpus(trained, tmp_path):
    """Of its test clips alone: the confusion is the same, row by row."""
    root, cache, open_set, _ = trained
    whole = evaluate_directory(open_set, root, "test", cache)
    own = tmp_path / "own"
    for clip in scan(root, WORDS).clips:
        if clip.part == "test":
            (own / clip.folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(root / clip.path, own / clip.path)
    part = evaluate_directory(open_set, listed(own), "test", cache)
    words = slice(0, 3)             # without the silence, which came from the noise
    assert open_set.labels[words] == (*WORDS, "unknown")
    assert part["confusion"][words] == whole["confusion"][words]
    assert part["utterances"] == sum(map(sum, whole["confusion"][words]))


def test_folders_of_unknown_and_of_silence_are_judged(trained, tmp_path):
    root, cache, open_set, closed = trained
    own = copied(root, tmp_path / "own", (*WORDS, "rise"))
    (own / "rise").rename(own / "_unknown_")
    rng = np.random.default_rng(0)
    for name in ("_silence_", "silence"):
        (own / name).mkdir()
        for k in range(4):
            soundfile.write(own / name / f"{name}{k}.wav", rng.normal(0, 0.02, 8000), 8000)
        figures = evaluate_directory(open_set, own, "all", cache)
        rows = dict(zip(open_set.labels, np.sum(figures["confusion"], 1), strict=True))
        assert rows == {"low": 7, "high": 7, "unknown": 7, "silence": 4}
        assert figures["accuracy"] > 0.6 and figures["skipped"] == []
        shutil.rmtree(own / name)
        listed(own)
    shutil.rmtree(own / "_unknown_")
    (own / "silence").mkdir()
    soundfile.write(own / "silence" / "1.wav", np.zeros(8000), 8000)
    figures = evaluate_directory(closed, own, "all", cache)
    assert figures["utterances"] == 14 and figures["skipped"] == [["silence/1.wav", "the model has no class 'silence'"]]


def test_a_model_that_listens_is_judged_by_its_clearest_answer(trained):
    from dataclasses import replace

    root, cache, open_set, _ = trained
    rule = Stop(100, 10, 2, True, 2)
    listens = replace(open_set, detector=rule)
    features = load_features(scan(root, WORDS), settings_of(listens), cache)
    expected, apart = np.zeros((4, 4), int), 0
    for i in features.of("validation"):
        logits = Golden(listens).run(listens.quantise(features.frames(i))[:, None]).logits[:, 0]
        answer = clearest(logits, rule)[1]
        expected[features.targets[i], answer] += 1
        apart += answer != logits[-1].argmax()
    figures = evaluate(listens, features, "validation")
    assert np.array_equal(figures["confusion"], expected) and apart > 0
    assert figures["weights"] == evaluate(open_set, features, "validation")["weights"]      # heard to its end


def test_all_clips_are_judged_whatever_their_part(trained):
    root, cache, open_set, _ = trained
    parts = [evaluate_directory(open_set, root, part, cache) for part in ("train", "validation", "test")]
    whole = evaluate_directory(open_set, root, "all", cache)
    assert whole["part"] == "all" and whole["utterances"] == sum(p["utterances"] for p in parts)
    assert np.array_equal(whole["confusion"], np.sum([p["confusion"] for p in parts], 0))


def test_without_a_test_part_validation_and_without_that_all(trained, tmp_path):
    root, cache, open_set, _ = trained
    own = listed(copied(root, tmp_path / "own", WORDS), "validation_list.txt")
    assert evaluate_directory(open_set, own, None, cache)["part"] == "validation"
    (own / "validation_list.txt").write_text("nothing/here.wav")
    figures = evaluate_directory(open_set, own, None, cache)
    assert figures["part"] == "all" and figures["utterances"] == 14


def test_nothing_of_the_models_words_is_an_error(trained, tmp_path):
    root, cache, open_set, closed = trained
    with pytest.raises(DataError, match="none of the model's words low, high, but fall, rise"):
        evaluate_directory(open_set, copied(root, tmp_path / "other", ("rise", "fall")), "all", cache)
    (tmp_path / "other/rise").rename(tmp_path / "other/unknown")
    shutil.rmtree(tmp_path / "other/fall")
    assert evaluate_directory(open_set, tmp_path / "other", "all", cache)["rejected"] is not None
    with pytest.raises(DataError, match="are not the data set's"):
        evaluate_directory(closed, tmp_path / "other", "all", cache)
    for path in (tmp_path / "other/unknown").iterdir():
        path.write_text(f"no sound {path}")
    with pytest.raises(DataError, match="no clip can be used"):
        evaluate_directory(open_set, tmp_path / "other", "all", cache)


def test_training_still_needs_its_clips(trained, recipe, tmp_path):
    root, cache, *_ = trained
    own = listed(copied(root, tmp_path / "own", WORDS))
    with pytest.raises(DataError, match="no clips in its train part"):
        scan(own, WORDS)
    data = scan(own, WORDS, training=False)
    assert {c.part for c in data.clips} == {"test"} and data.labels == WORDS
    with pytest.raises(DataError, match="to train with"):
        load_features(data, recipe.frontend, cache)
    assert len(load_features(data, recipe.frontend, cache, training=False).of("test")) == 14
