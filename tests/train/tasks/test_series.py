"""The task ``series``: parts that do not overlap, normalisation from training alone, figures, and a run to its end."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from made_series import RECIPE, wave, write_wave

from tidegate.golden import Golden
from tidegate.spec.model import read_model
from tidegate.train import run
from tidegate.train.data.series import PIECE, cut, read_records
from tidegate.train.data.series_options import SeriesOptions
from tidegate.train.data.split import PARTS
from tidegate.train.errors import DataError
from tidegate.train.fit.loop import Trainer
from tidegate.train.judge.evaluate import evaluate, evaluate_directory
from tidegate.train.tasks.registry import find_task

TASK = find_task("series")
OPTIONS = RECIPE.series


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_wave(tmp_path_factory.mktemp("series") / "wave.npz")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "wave.tidegate"
    run(data, RECIPE, out, progress=False)
    return read_model(out)


def heard(series, part):
    """Every frame that any example of a part may hold."""
    return {t for i in series.of(part)
            for t in range(series.starts[i], series.starts[i] + series.lengths[i] + series.rooms[i])}


@pytest.mark.parametrize("options", [
    OPTIONS, SeriesOptions(window=100, stride=7, warm_up=0, gap=0),
    SeriesOptions(window=50, stride=50, warm_up=10, test=0),
    SeriesOptions(window=64, warm_up=16, gap=33, ahead=40, validation=0.1)])
def test_parts_do_not_overlap(data, options):
    series = cut(read_records(data), options)
    frames = {part: heard(series, part) for part in PARTS}
    assert not frames["train"] & frames["validation"] and not frames["validation"] & frames["test"]
    ends = [(min(frames[part]), max(frames[part])) for part in PARTS if frames[part]]
    assert len(ends) == (3 if options.test else 2)
    for (_, end), (begin, _) in pairwise(ends):
        assert begin - end > options.gap
    assert np.array_equal(series.y[: len(series.y)], wave()["y"][options.ahead :])
    assert np.array_equal(series.x, wave()["x"][: 1600 - options.ahead])


def test_a_change_is_what_a_host_adds_to_the_present_value(data):
    options = replace(OPTIONS, ahead=7)
    value, change = (cut(read_records(data), replace(options, change=c)) for c in (False, True))
    present = wave()["y"][: len(change.y)]
    assert np.allclose(present + change.y, value.y, atol=1e-5) and np.array_equal(change.x, value.x)
    with pytest.raises(DataError, match="set ahead"):
        SeriesOptions(change=True)


def test_each_frame_after_the_warm_up_is_judged_once(tmp_path):
    options = replace(OPTIONS, validation=0.5, test=0.25)
    series = cut(read_records(write_wave(tmp_path / "long.npz", frames=4 * PIECE)), options)
    pieces = series.of("validation")
    assert len(pieces) > 1 and series.lengths[pieces].max() <= PIECE + options.warm_up
    judged = [t for i in pieces
              for t in range(series.starts[i] + options.warm_up, series.starts[i] + series.lengths[i])]
    assert len(judged) == len(set(judged)) == max(judged) - min(judged) + 1
    targets = series.targets
    assert np.isnan(targets[:, : options.warm_up]).all()
    i = int(pieces[1])
    got = targets[i, options.warm_up : series.lengths[i]]
    assert np.array_equal(got, series.y[series.starts[i] + options.warm_up : series.starts[i] + series.lengths[i]])


def test_the_normalisation_is_that_of_the_part_train(data):
    records = read_records(data)
    series = cut(records, OPTIONS)
    later = records.records[0].x.copy(), records.records[0].y.copy()
    first = int(series.starts[series.of("validation")].min()) - OPTIONS.gap
    for values in later:
        values[first:] *= 100
    other = cut(replace(records, records=(replace(records.records[0], x=later[0], y=later[1]),)), OPTIONS)
    assert np.array_equal(series.mean, other.mean) and np.array_equal(series.inverse, other.inverse)
    assert np.array_equal(series.offset, other.offset) and np.array_equal(series.scale, other.scale)
    used = series.x[: first]
    assert np.allclose(series.mean, used.mean(0), atol=1e-5) and np.allclose(1 / series.inverse, used.std(0), atol=1e-4)


def test_batches_stay_within_their_part(data):
    series = cut(read_records(data), OPTIONS, jitter=0.0)
    mean, scale = series.normalisation()
    windows = torch.from_numpy(series.of("train"))
    last = max(heard(series, "train"))
    ints = np.floor((series.x - mean) * scale * 256 + 0.5)
    places = {row.tobytes(): t for t, row in enumerate(ints[: last + 1].astype(np.float32))}
    for seed in range(5):
        batch = series.batcher(mean, scale)(windows, torch.Generator().manual_seed(seed))
        (at, target), = batch.decisions
        assert batch.frames.shape == (64, len(windows), 2) and (at == 63).all()
        assert all(row.numpy().tobytes() in places for row in batch.frames.reshape(-1, 2))
        assert target[:, :16].isnan().all() and not target[:, 16:].isnan().any()
        assert torch.isin(target[:, 16:], torch.from_numpy(series.y[: last + 1])).all()


def test_metrics_are_those_of_the_textbook():
    rng = np.random.default_rng(3)
    wanted = rng.normal(size=(2, 50, 2)) * [3, 1] + [1, 0]
    told = wanted + rng.normal(size=wanted.shape) * [0.5, 2]
    targets = wanted.copy()
    targets[:, :5] = np.nan
    figures = TASK.metrics(("a", "b"), targets, list(told))
    w, t = (values[:, 5:].reshape(-1, 2) for values in (wanted, told))
    for k, label in enumerate("ab"):
        error = ((w[:, k] - t[:, k]) ** 2).mean()
        assert figures["rmse"][label] == pytest.approx(error**0.5)
        assert figures["r2"][label] == pytest.approx(1 - error / w[:, k].var())
        assert figures["pearson"][label] == pytest.approx(np.corrcoef(w[:, k], t[:, k])[0, 1])
    assert figures["nrmse"] == pytest.approx(np.mean([figures["rmse"][n] / w[:, k].std() for k, n in enumerate("ab")]))
    still = TASK.metrics(("a", "b"), targets, [np.ones((50, 2))] * 2)
    assert still["pearson"] == {"a": None, "b": None}


def test_a_run_learns_and_its_file_says_what_the_numbers_are(trained, data):
    readout, card = trained.readout, trained.card
    assert (trained.labels, readout.units, readout.rate) == (("angle",), ("deg",), 100.0)
    assert 15 < readout.offset[0] < 25 and readout.scale[0] > 0
    assert card["test"]["nrmse"] < 0.35 and card["test"]["fetch_reduction"] > 1.5
    assert card["test"]["r2"]["angle"] == pytest.approx(1 - card["test"]["nrmse"] ** 2)
    assert card["recipe"]["series"]["gap"] == 20
    figures = evaluate_directory(trained, data)
    assert figures["part"] == "test"
    assert all(figures[name] == card["test"][name] for name in ("nrmse", "rmse", "r2", "pearson", "occupancy"))
    series = TASK.load_to_judge(trained, data, None)
    piece = int(series.of("test")[0])
    told = trained.numbers(Golden(trained).run(trained.quantise(series.frames(piece))[:, None]).logits[:, 0])
    error = (told - series.targets[piece][: len(told)])[OPTIONS.warm_up :]
    assert np.sqrt((error**2).mean()) == pytest.approx(figures["rmse"]["angle"])
    assert evaluate(trained, series, "validation")["nrmse"] == card["validation"]["nrmse"]


def test_loss_is_in_standard_deviations(data, tmp_path):
    series = TASK.load(RECIPE, data)
    trainer = Trainer(RECIPE, series, tmp_path / "m.tidegate")
    batch = trainer.augmenter(trainer.train[:4], torch.Generator().manual_seed(0))
    (_, target), = batch.decisions
    right = ((target - float(series.offset[0])) / float(series.scale[0])).swapaxes(0, 1)
    assert trainer.task_loss(right, batch, 1).item() < 1e-10
    assert trainer.task_loss(right + 2, batch, 1).item() == pytest.approx(4, rel=1e-5)


def test_two_outputs_learned_thresholds_and_a_budget(tmp_path):
    data = write_wave(tmp_path / "two.npz", outputs=2)
    recipe = replace(RECIPE, epochs=4, learn_thresholds=True, threshold_rate=5.0, budget=100.0)
    run(data, recipe, tmp_path / "two.tidegate", progress=False)
    model = read_model(tmp_path / "two.tidegate")
    assert model.labels == ("angle", "sum") and set(model.card["test"]["rmse"]) == {"angle", "sum"}
    assert model.network.thresholds != recipe.thresholds and model.card["test"]["fetch_reduction"] > 2


def test_a_resumed_run_is_the_same(data, tmp_path):
    recipe = replace(RECIPE, epochs=3)
    series = TASK.load(recipe, data)
    first = Trainer(recipe, series, tmp_path / "a.tidegate")
    list(first.epochs())
    epochs = Trainer(recipe, series, tmp_path / "b.tidegate").epochs()
    next(epochs)
    epochs.close()
    list(Trainer(recipe, series, tmp_path / "b.tidegate", resume=True).epochs())
    assert read_model(tmp_path / "a.tidegate").digest == read_model(tmp_path / "b.tidegate").digest


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def bad(name, tmp_path):
    x, y = np.zeros((900, 2)), np.sin(np.arange(900))
    wrong = {
        "no y": {"x": x}, "no x": {"y": y}, "short y": {"x": x, "y": y[:9]}, "words": {"x": x, "y": y.astype(str)},
        "nan": {"x": x, "y": np.where(np.arange(900) == 7, np.nan, y)}, "names": {"x": x, "y": y, "names": ["a", "b"]},
        "twice": {"x": x, "y": np.stack([y, y], 1), "names": ["a", "a"]}, "rate": {"x": x, "y": y, "rate": 0},
        "still": {"x": x, "y": y * (np.arange(900) < 500)}, "short": {"x": x[:90], "y": y[:90]},
        "object": {"x": x, "y": np.array([None] * 900)}, "huge": {"x": x, "y": y * 1e60},
    }
    return saved(tmp_path / "bad.npz", **wrong[name])


@pytest.mark.parametrize("name, text", [
    ("no y", "has no array 'y'"), ("no x", "has no array 'x'"), ("short y", r"holds x \(900, 2\) and y \(9,\)"),
    ("words", "y is <U"), ("nan", "y holds NaN"), ("names", "1 outputs need 1 names, not 2"), ("twice", "two outputs"),
    ("rate", "give frames per second"), ("still", "'y' never changes in the validation part"),
    ("short", "for the train part, which needs 64"), ("object", "holds objects of Python"),
    ("huge", "too large for 32 bits")])
def test_bad_series_are_one_line(name, text, tmp_path):
    with pytest.raises(Exception, match=text) as error:
        TASK.load(RECIPE, bad(name, tmp_path))
    assert type(error.value).__name__ in ("DataError", "TidegateError") and "\n" not in str(error.value)


def test_what_the_task_does_not_have(data, trained, tmp_path):
    for recipe, given, speaker, text in (
            (replace(RECIPE, stop_margin=2.0), data, "", "are for classes"), (RECIPE, None, "", "needs its data"),
            (RECIPE, tmp_path, "", "no .npz file"), (RECIPE, data, "jane", "no speakers")):
        with pytest.raises(DataError, match=text):
            TASK.load(recipe, given, speaker=speaker)
    with pytest.raises(DataError, match="the data have 2 outputs"):
        TASK.load_to_judge(trained, write_wave(tmp_path / "two.npz", outputs=2), None)
    with pytest.raises(DataError, match="the data have 3 features, the model takes 2"):
        TASK.load_to_judge(trained, saved(tmp_path / "3.npz", x=np.zeros((900, 3)), y=np.zeros(900)), None)
    np.savez(tmp_path / "other.npz", x=np.zeros((900, 2)), y=np.zeros(900), rate=3)
    with pytest.raises(DataError, match="has other features"):
        read_records(tmp_path)


def test_records_of_one_folder_and_of_one_array(tmp_path):
    made = wave(frames=900)
    np.savez(tmp_path / "a.npz", **made)
    np.savez(tmp_path / "b.npz", x=np.stack([made["x"]] * 2), y=np.stack([made["y"]] * 2))
    series = cut(read_records(tmp_path), OPTIONS)
    assert len(series.x) == 2700 and len(series.of("test")) == 3
    for part in PARTS:
        assert not heard(series, part) & heard(series, PARTS[PARTS.index(part) - 1])


@pytest.mark.parametrize("wrong", [{"warm_up": 64}, {"validation": 0.0}, {"validation": 0.6, "test": 0.4},
                                   {"window": 0}])
def test_options_that_contradict(wrong):
    with pytest.raises(DataError):
        replace(OPTIONS, **wrong)
