"""From a sweep's folder to a zoo model: the best by validation, and a card that says what the runs found."""

import json
import sys
from dataclasses import replace

import pytest
import torch

from tidegate import __version__
from tidegate.spec.model import read_model
from tidegate.train.data.features import load_features
from tidegate.train.data.folders import scan, scan_for
from tidegate.train.publish import release
from tidegate.train.recipe import Recipe
from tidegate.train.study import cluster, sweep
from tidegate.train.study.plan import make_plan
from tidegate.train.study.results import Results, read_results


@pytest.fixture(scope="module")
def sweep_folder(write_words, recipe, tmp_path_factory):
    """``make(name, **description)``: a finished sweep of the tones, trained here and without workers."""
    root, cache = write_words(clips=40), tmp_path_factory.mktemp("cache")

    def make(name, **description):
        folder = tmp_path_factory.mktemp(name)
        base = replace(recipe, epochs=2, keywords=("low", "rise"), limits=("Anything.",), attribution="tones")
        plan = make_plan({"name": name, "recipe": base.to_dict(), **description})
        points = plan.points(plan.speakers or ("",))
        results = Results(folder, plan, [p.key for p in points], {"digest": name})
        for point in points:
            data = scan_for(point.recipe, root, point.speaker)
            cluster.BROUGHT[name] = load_features(data, point.recipe.frontend, cache)
            answer = sweep.train_point(point.recipe.to_dict(), plan.theta, name)
            same = {"key": point.key, "label": point.label, "speaker": point.speaker, "seed": point.recipe.seed,
                    "epochs": point.recipe.epochs} | answer["same"]
            results.add(point.key, answer["model"], answer["log"], [same | row for row in answer["rows"]])
        return folder
    make.root = root
    return make


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["release", *map(str, arguments)])
    code = release.main()
    return code, capsys.readouterr().err


def test_the_best_run_by_validation_with_all_findings_on_its_card(sweep_folder, monkeypatch, capsys, tmp_path):
    runs = sweep_folder("runs", vary={"seed": [1, 2]}, theta=[1, 2],
                        variants=[{"label": "delta", "set": {}}, {"label": "dense", "set": {"thresholds": [0, 0]}}])
    code, err = run(monkeypatch, capsys, "mine", "--sweep", runs, "--label", "delta", "--zoo", tmp_path)
    assert (code, err) == (0, "")
    rows = [r for r in read_results(runs) if r["label"] == "delta" and r["factor"] == 1]
    best = max(rows, key=lambda r: r["validation_accuracy"])
    model = read_model(tmp_path / "mine.tidegate")
    assert model.digest == read_model(runs / "models" / f"{best['key']}.tidegate").digest
    recipe = Recipe.read(tmp_path / "mine.json")
    assert recipe.name == "mine" and recipe.seed == best["seed"] and recipe == Recipe.from_dict(model.card["recipe"])
    mean = sum(r["test_accuracy"] for r in rows) / 2
    text = (tmp_path / "mine.md").read_text()
    assert f"- Made with tidegate {__version__} and torch {torch.__version__}; device: " in text
    assert f"{100 * mean:.2f} ±" in text and "| dense |" in text and "## Turning Θ at run time" in text
    assert f"{model.network.weight_bytes} bytes of weights, {(tmp_path / 'mine.tidegate').stat().st_size} bytes" in text

    twins = sweep_folder("twins", vary={"seed": [3]}, variants=[{"label": "twin", "set": {
        "leave_out": ["fall"], "reject": 0.05}}])
    voices = sweep_folder("voices", speakers=["0000", "0001"])
    (tmp_path / "v.json").write_text(json.dumps({"lanes": [64], "frames": 30, "thresholds": [[0, 0]], "mismatches": 0}))
    code, err = run(monkeypatch, capsys, "mine", "--unseen", twins, "--speakers", voices, "--zoo", tmp_path,
                    "--attach", f"verified={tmp_path / 'v.json'}")
    assert (code, err) == (0, "")
    again, text = read_model(tmp_path / "mine.tidegate"), (tmp_path / "mine.md").read_text()
    assert again.digest == model.digest and "Trained without fall" in text
    twin = read_model(next((twins / "models").glob("*.tidegate"))).card
    assert f"{twin['unseen']['rejected']:.1%} were taken for no keyword" in text
    assert "## A voice that was never heard" in text and "30 frames at 1 settings of Θ" in text and "| dense |" in text


def test_mistakes_are_one_line(sweep_folder, monkeypatch, capsys, tmp_path):
    runs = sweep_folder("plain")
    for arguments, message in (
        (("x", "--sweep", runs, "--label", "none"), "no run 'none' at factor 1; its labels are ''"),
        (("x", "--sweep", tmp_path), "holds no results of a sweep"),
        (("x", "--unseen", runs), "no model file"),
    ):
        code, err = run(monkeypatch, capsys, *arguments, "--zoo", tmp_path)
        assert code == 1 and message in err and err.count("\n") == 1
    assert run(monkeypatch, capsys, "x", "--sweep", runs, "--zoo", tmp_path) == (0, "")
    for option, message in (("--unseen", "left no words out"), ("--speakers", "left a speaker out")):
        code, err = run(monkeypatch, capsys, "x", option, runs, "--zoo", tmp_path)
        assert code == 1 and message in err


def test_scan_for_is_scan_for_a_recipe_without_words_left_out(sweep_folder, recipe):
    assert scan_for(recipe, sweep_folder.root) == scan(sweep_folder.root)
