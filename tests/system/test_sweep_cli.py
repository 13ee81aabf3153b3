"""The verb ``sweep`` as a user runs it, on worker processes of its own."""

import json
import os
import signal
import subprocess

import pytest
from command import COMMAND, fails, tidegate, write_sound

from tidegate.train.study.sweep import read_results


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two words (of noise) in ``words``; the sweeps of these tests are written there."""
    folder = tmp_path_factory.mktemp("sweep")
    for w, word in enumerate(("one", "two")):
        (folder / "words" / word).mkdir(parents=True)
        for k in range(16):
            write_sound(folder / "words" / word / f"{k}.wav", 0.2, seed=100 * w + k)
    return folder


def describe(folder, name, **fields):
    recipe = {"epochs": 1, "gru": [4], "batch": 8}
    recipe |= fields.pop("recipe", {})
    (folder / f"{name}.json").write_text(json.dumps({"name": name, "recipe": recipe} | fields))
    return [f"{name}.json", "--data", "words", "--no-report"]


def environment(folder):
    return os.environ | {"NO_COLOR": "1", "TIDEGATE_CACHE": str(folder / "cache")}


def test_sweep_and_go_on(folder, monkeypatch):
    monkeypatch.setenv("TIDEGATE_CACHE", str(folder / "cache"))
    arguments = describe(folder, "small", vary={"seed": [1, 2], "gru": [[4], [6]]}, theta=[1, 2])
    done = tidegate("sweep", *arguments, "--workers", 2, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    report, rows = json.loads(done.stdout), read_results(folder / "results/small")
    assert (report["sweep"], report["points"], report["failed"]) == ("small", 4, [])
    assert [(g["gru"], g["factor"], g["n"]) for g in report["summary"]] == [(4, 1, 2), (4, 2, 2), (6, 1, 2), (6, 2, 2)]
    first = [row["validation_accuracy"] for row in rows if row["gru"] == 4 and row["factor"] == 1]
    assert report["summary"][0]["validation_accuracy"] == sum(first) / 2
    assert done.stderr.count("clips to train/validate/test: ") == 1
    lines = [line for line in done.stderr.splitlines() if "/4 " in line]
    assert len(lines) == 4 and all("validation" in line and "gru=" in line for line in lines)
    again = tidegate("sweep", *arguments, cwd=folder)
    assert again.returncode == 0 and "4 points, 4 of them are there" in again.stderr
    assert "4 of 4 points are in results/small" in again.stdout and "x2 (256 128)" in again.stdout
    assert read_results(folder / "results/small") == rows
    done = tidegate("report", "results/small", "--csv", "small.csv", cwd=folder)
    assert done.returncode == 0 and len((folder / "small.csv").read_text().splitlines()) == 1 + len(rows)
    describe(folder, "small", vary={"seed": [1]})
    fails(tidegate("sweep", *arguments, cwd=folder), "holds the results of another sweep")


def test_a_failed_point_shows_in_the_exit_status(folder, monkeypatch):
    monkeypatch.setenv("TIDEGATE_CACHE", str(folder / "cache"))
    arguments = describe(folder, "half", vary={"gru": [[10_000_000], [16]]})
    done = tidegate("sweep", *arguments, "--workers", 1, cwd=folder)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "1 of 2 points failed, the first: gru=10000000: RuntimeError" in done.stderr
    assert "1 of 2 points are in results/half" in done.stdout


def test_interrupted_and_gone_on(folder):
    """Ctrl-C goes to all processes, as from a terminal."""
    arguments = describe(folder, "long", vary={"epochs": [1, 1000]})
    process = subprocess.Popen([*COMMAND, "sweep", *arguments, "--workers", "1"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=folder,
                               env=environment(folder))
    for line in process.stderr:
        if "1/2 " in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    fails(subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr), "interrupted", code=130)
    row, = read_results(folder / "results/long")
    assert row["epochs"] == 1


def test_mistakes(folder):
    fails(tidegate("sweep", "none"), "no sweep 'none'")
    arguments = describe(folder, "wrong", vary={"sead": [1]})
    fails(tidegate("sweep", *arguments, cwd=folder), "no field 'sead'; known are name")
    arguments = describe(folder, "damaged")
    (folder / "results/damaged").mkdir(parents=True)
    (folder / "results/damaged/results.sqlite").write_text(1000 * "no database")
    fails(tidegate("sweep", *arguments, cwd=folder), "cannot be written (results.sqlite: file is not a database)")
    fails(tidegate("sweep", *arguments, "--workers", 2, "--cluster", "tcp://x:1", cwd=folder), "choose one")
