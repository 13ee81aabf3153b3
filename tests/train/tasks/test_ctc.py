"""The task ``ctc`` from recordings to a string: what it learns, what its file says, the verbs, and what is refused."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import soundfile
import torch
from made_tones import RATE, word

from tidegate.commands.app import app
from tidegate.commands.sweep import _print as print_table
from tidegate.golden import Golden
from tidegate.host.ctc import decode, decoder_of
from tidegate.spec.errors import TidegateError
from tidegate.spec.model import read_model, save_model
from tidegate.spec.tokens import Tokens
from tidegate.train.data.augment import Batch
from tidegate.train.data.string_options import StringOptions
from tidegate.train.errors import DataError
from tidegate.train.fit.training_run import run
from tidegate.train.judge.evaluate import evaluate, evaluate_directory
from tidegate.train.publish import release
from tidegate.train.publish.card import card
from tidegate.train.publish.report.model import write_model_report
from tidegate.train.publish.report.sweep import write_report
from tidegate.train.recipe import Augmentation
from tidegate.train.study import cluster
from tidegate.train.study.plan import make_plan
from tidegate.train.study.results import Results, columns, read_results, summary
from tidegate.train.study.sweep import Sweep, train_point
from tidegate.train.tasks.ctc import TOKEN_COUNTS
from tidegate.train.tasks.registry import find_task

TASK = find_task("ctc")
TOKENS = ("low", "high", "rise", "fall")


@pytest.fixture(scope="module")
def data(write_words):
    return write_words(clips=40)


@pytest.fixture(scope="module")
def small(recipe):
    """A recipe that learns strings of tones in seconds."""
    return replace(recipe, name="tones", task="ctc", keywords=TOKENS, gru=(24,), epochs=12, batch=8, sparsity_cost=0.0,
                   thresholds=(24, 12), attribution="made", limits=("Music.",),
                   augmentation=Augmentation(mask_bands=0, mask_frames=0, stretch=0.05, warp=0.2, noise_share=0.5),
                   strings=StringOptions(count=240, judged=40, tokens=(1, 4), gap_s=(0.05, 0.3), overlap=0.1))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def path(small, data, cache, tmp_path_factory):
    return run(data, small, tmp_path_factory.mktemp("run") / "tones.tidegate", cache=cache, progress=False)


@pytest.fixture(scope="module")
def trained(path):
    return read_model(path)


@pytest.fixture
def recorded(tmp_path):
    """A CSV of two recordings of strings."""
    rng, lines = np.random.default_rng(4), ["clip,said"]
    for name, said in (("a", ("low", "high")), ("b", ("rise", "rise", "low"))):
        gap = np.zeros(RATE // 5, np.float32)
        sound = np.concatenate([gap, *(part for token in said for part in (word(token, rng), gap))])
        soundfile.write(tmp_path / f"{name}.wav", sound, RATE)
        lines.append(f"{name},{' '.join(said)}")
    (tmp_path / "calls.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "calls.csv"


def call(capsys, *arguments):
    app([str(argument) for argument in arguments], standalone_mode=False)
    return capsys.readouterr().out


def test_a_run_learns_to_tell_strings(trained, small, data, cache):
    assert trained.labels == (*TOKENS, "blank") and trained.tokens == Tokens(4)
    assert trained.card["test"]["wer"] < 0.3 and trained.card["test"]["fetch_reduction"] > 1.2
    figures = evaluate_directory(trained, data, cache=cache)
    assert figures["part"] == "test" and figures["utterances"] == 40
    told = ("wer", "tokens", "substitutions", "deletions", "insertions", "strings_right", "occupancy")
    assert all(figures[name] == trained.card["test"][name] for name in told)
    assert figures["wer"] == sum(figures[k] for k in ("substitutions", "deletions", "insertions")) / figures["tokens"]
    beam = evaluate_directory(trained.with_beam(8), data, cache=cache)
    assert beam["tokens"] == figures["tokens"] and beam["occupancy"] == figures["occupancy"]


def test_answers_are_what_the_decoder_makes_of_the_golden_integers(trained, data, cache):
    strings = TASK.load_to_judge(trained, data, None, cache=cache)
    chosen = strings.of("validation")[:6]
    golden, errors = Golden(trained), 0
    for i in chosen:
        logits = golden.run(trained.quantise(strings.frames(int(i)))[:, None]).logits
        answer, = TASK.answers(trained, logits, np.array([len(logits) - 1]), False)
        assert answer == tuple(token.label for token in decode(decoder_of(trained), logits[:, 0]))
        errors += answer != tuple(strings.targets[i][strings.targets[i] >= 0])
    assert errors < 6
    assert evaluate(trained, strings, "validation")["wer"] == trained.card["validation"]["wer"]


def test_the_loss_is_that_of_all_alignments(small, data, cache):
    strings = TASK.load(small, data, cache=cache)
    loss = TASK.loss(small, strings, strings.of("train"), torch.device("cpu"))
    logits, target = torch.randn(4, 1, 5, generator=torch.Generator().manual_seed(1)), (2, 0)
    odds = logits.log_softmax(-1).exp()[:, 0]
    total = 0.0
    for alignment in product(range(5), repeat=4):
        merged = [x for x, before in zip(alignment, (-1, *alignment), strict=False) if x != before and x != 4]
        if tuple(merged) == target:
            total += float(torch.stack([odds[t, x] for t, x in enumerate(alignment)]).prod())
    batch = Batch(torch.zeros(4, 1, 12), [(torch.tensor([3]), torch.tensor([[2, 0, -1]]))])
    assert float(loss(logits, batch, 1)) == pytest.approx(-np.log(total) / 2, rel=1e-5)
    marks = torch.tensor([[4], [2], [-1], [0]])
    marked = Batch(batch.frames, batch.decisions, marks)
    extra = -(odds[0, 4].log() + TOKEN_COUNTS * (odds[1, 2] * odds[3, 0]).log()) / 2
    for progress, weight in ((0.0, 1.0), (0.2, 0.6), (0.4, 0.2), (0.9, 0.2)):           # the marks fade
        marked.progress = progress
        more = float(loss(logits, marked, 1) - loss(logits, batch, 1))
        assert more == pytest.approx(weight * float(extra), rel=1e-4)


def test_metrics():
    targets = np.array([[0, 1, 2], [3, -1, -1], [1, 1, -1]])
    figures = TASK.metrics(TOKENS, targets, [(0, 2), (3,), (1, 1, 0)])
    assert figures == {"wer": 2 / 6, "tokens": 6, "substitutions": 0, "deletions": 1, "insertions": 1,
                       "strings_right": 1 / 3}


def test_the_verbs(path, trained, recorded, data, capsys, tmp_path, monkeypatch):
    told = call(capsys, "eval", path, "--data", recorded)
    assert told.startswith("test: wer ") and "on 2 strings" in told and "told that were not said" in told
    figures = json.loads(call(capsys, "eval", path, "--data", recorded, "--beam", "4", "--json"))
    assert figures["tokens"] == 5 and figures["wer"] <= 0.6
    sound = recorded.parent / "b.wav"
    found, = json.loads(call(capsys, "run", sound, "--model", path, "--json"))["files"]
    assert found["string"] == " ".join(token["token"] for token in found["tokens"])
    assert all(0 <= token["frame"] < found["frames"] for token in found["tokens"])
    line = call(capsys, "run", sound, "--model", path)
    assert found["string"] in line and str(sound) in line
    report = tmp_path / "report.html"
    write_model_report(path, path.with_name("tones.log.csv"), report)
    page = report.read_text()
    assert "wer (validation)" in page and "word error rate" in page and "Confusion" not in page
    text = card(trained, "tones", path.stat().st_size)
    assert "| part | strings | wer |" in text and "by the largest logit of each frame" in text and "blank" in text


def test_a_sweep_has_the_task_s_own_figure(small, data, cache, tmp_path):
    plan = make_plan({"name": "s", "recipe": replace(small, epochs=1).to_dict(), "vary": {"seed": [1]}})
    assert plan.primary.name == "wer" and "test_wer" in columns(plan) and "test_accuracy" not in columns(plan)
    sweep = Sweep(plan, data, tmp_path / "out", cache)
    assert [point.recipe.seed for point in sweep.left] == [1] and len(sweep.features) == 1
    mixed = make_plan(plan.to_dict() | {"vary": {"task": ["ctc", "words"]}})
    with pytest.raises(DataError, match="no common table"):
        Sweep(mixed, data, tmp_path / "mixed", cache)
    with pytest.raises(DataError, match="is for folders of words"):
        Sweep(make_plan(plan.to_dict() | {"speakers": "each"}), data, tmp_path / "each", cache)
    assert read_results(tmp_path / "out") == []


@pytest.mark.parametrize("change, text", [
    ({"keywords": ()}, "are its tokens"), ({"keywords": ("low", "low")}, "each once"),
    ({"keywords": ("low", "blank")}, "none called 'blank'"), ({"balance": 1.0}, "leave them out"),
    ({"keywords": ("low", "bird")}, "no usable recording of bird"),
])
def test_what_a_recipe_cannot_ask(change, text, small, data, cache):
    with pytest.raises(DataError, match=text) as error:
        TASK.load(replace(small, **change), data, cache=cache)
    assert "\n" not in str(error.value)


def test_what_cannot_be_judged(trained, path, data, tmp_path, capsys):
    for model, folder, text in ((trained, None, "tells strings; give with --data"),
                                (replace(trained, tokens=None), data, "tells no strings"),
                                (trained, tmp_path / "none.csv", "no file")):
        with pytest.raises(TidegateError, match=text):
            TASK.load_to_judge(model, folder, None)
    for arguments, text in ((("demo", "--model", path), "hold one word each"),
                            (("listen", data / "low" / "0000_nohash_0.wav", "--model", path), "waits for single words"),
                            (("run", data / "low" / "0000_nohash_0.wav", "--model", path, "--margin", "2"),
                             "answers with strings"),
                            (("run", data / "low" / "0000_nohash_0.wav", "--beam", "2"), "leave --beam out")):
        with pytest.raises(TidegateError, match=text):
            call(capsys, *arguments)
    with pytest.raises(DataError, match="give a folder of words"):
        TASK.load(trained_recipe(trained), None)


def trained_recipe(model):
    from tidegate.train.recipe import Recipe

    return Recipe.from_dict(model.card["recipe"])


def test_an_untouched_file_is_the_same_after_a_round_trip(trained, tmp_path):
    save_model(trained, tmp_path / "again.tidegate")
    assert read_model(tmp_path / "again.tidegate").digest == trained.digest


def test_a_sweep_s_tables_report_and_card_tell_the_word_error_rate(small, data, cache, tmp_path, capsys, monkeypatch):
    plan = make_plan({"name": "s", "recipe": replace(small, epochs=1).to_dict(), "vary": {"seed": [1, 2]}})
    points, out = plan.points(), tmp_path / "out"
    results = Results(out, plan, [point.key for point in points], {"digest": "tones"})
    for point in points:
        cluster.BROUGHT["tones"] = TASK.load(point.recipe, data, cache=cache)
        answer = train_point(point.recipe.to_dict(), plan.theta, "tones")
        same = {"key": point.key, "label": "", "speaker": "", "seed": point.recipe.seed, "epochs": 1} | answer["same"]
        results.add(point.key, answer["model"], answer["log"], [same | row for row in answer["rows"]])
    rows = read_results(out)
    group, = summary(rows)
    assert group["n"] == 2 and group["test_wer"] == pytest.approx(sum(row["test_wer"] for row in rows) / 2)
    print_table("s", ["seed"], [group], plan.primary)
    assert "test wer" in capsys.readouterr().out
    page = write_report(out).read_text()
    assert "wer against fetches" in page and "test wer" in page and "ccuracy" not in page
    monkeypatch.setattr("sys.argv", ["release", "mine", "--sweep", str(out), "--zoo", str(tmp_path)])
    assert release.main() == 0
    best = min(rows, key=lambda row: row["validation_wer"])
    assert read_model(tmp_path / "mine.tidegate").card["recipe"]["seed"] == best["seed"]
    assert "| runs | Θ | n | test wer |" in (tmp_path / "mine.md").read_text()
