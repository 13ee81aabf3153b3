"""Sweeps on workers in processes of their own: the cluster of these tests is what ``--cluster`` is given."""

import json
import os
import signal
from contextlib import contextmanager
from dataclasses import asdict, replace
from threading import Event, Thread

import pytest
import torch

import tidegate
from tidegate.spec.errors import TidegateError
from tidegate.spec.model import read_model
from tidegate.train.data.features import load_features
from tidegate.train.data.folders import scan
from tidegate.train.errors import DataError
from tidegate.train.fit.loop import Trainer
from tidegate.train.judge.evaluate import evaluate
from tidegate.train.study.cluster import local_cluster
from tidegate.train.study.plan import make_plan
from tidegate.train.study.results import columns
from tidegate.train.study.sweep import Sweep, read_results


@pytest.fixture(scope="module")
def processes():
    with local_cluster(2) as cluster:
        yield cluster


@pytest.fixture
def cluster(processes):
    """Both are there, whatever the test before did to them."""
    processes.wait_for_workers(2, timeout=300)
    return processes


@pytest.fixture(scope="module")
def words(write_words):
    return write_words(clips=20)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make(recipe):
    """``make(**fields)``: a plan of two seeds of the tones, trained for an epoch."""
    def make(**fields):
        common = json.loads(json.dumps(replace(recipe, epochs=1).to_dict()))
        return make_plan({"name": "tones", "recipe": common, "vary": {"seed": [5, 6]}, "theta": [1, 2, [9, 8]]}
                         | fields)
    return make


def trained(plan, words, out, cluster, cache):
    """The outcomes of a sweep on the cluster."""
    return list(Sweep(plan, words, out, cache).outcomes(cluster=cluster.scheduler_address))


def test_a_sweep_is_what_training_each_recipe_gives(make, cluster, words, cache, tmp_path):
    plan, out = make(vary={"gru": [[8], [16]]}, bits=True), tmp_path / "out"
    outcomes = trained(plan, words, out, cluster, cache)
    assert sorted(o.number for o in outcomes) == [1, 2] and not any(o.error for o in outcomes)
    rows, points = read_results(out), plan.points()
    assert [(row["key"], row["gru"]) for row in rows] == [(p.key, p.recipe.gru[0]) for p in points for _ in range(3)]
    assert [(row["theta"], row["factor"]) for row in rows[:3]] == [((64, 32), 1), ((128, 64), 2), ((9, 8), None)]
    features = load_features(scan(words), points[0].recipe.frontend, cache)
    for k, point in enumerate(points):
        file = out / "models" / f"{point.key}.tidegate"
        epoch, = Trainer(point.recipe, features, tmp_path / "direct.tidegate").epochs()
        assert file.read_bytes() == (tmp_path / "direct.tidegate").read_bytes()
        header, line = (out / "logs" / f"{point.key}.csv").read_text().splitlines()
        assert header.split(",") == list(asdict(epoch)) and line.startswith(f"1,{epoch.loss!r},")
        model = read_model(file)
        for row in rows[3 * k : 3 * k + 3]:
            assert set(row) == set(columns(plan))
            for part in ("validation", "test"):
                f = evaluate(model.with_thresholds(*row["theta"]), features, part, bits=True)
                for figure in ("accuracy", "fetch_reduction", "temporal_sparsity", "bits_per_weight"):
                    assert row[f"{part}_{figure}"] == f[figure]
                assert row[f"{part}_occupancy"] == tuple(f["occupancy"]) and row[f"{part}_clips"] == f["utterances"]
                assert row[f"{part}_weights_per_frame"] == f["weights"] / f["frames"]
            assert row["dense_weights"] == row["weight_bytes"] == model.network.dense_weights
            assert (row["tidegate"], row["torch"]) == (tidegate.__version__, torch.__version__) and row["device"]
            assert row["file_bytes"] == file.stat().st_size and (row["epochs"], row["epoch"]) == (1, 1)


def test_what_is_finished_is_not_trained_again(make, cluster, words, cache, tmp_path):
    plan, out = make(), tmp_path / "out"
    assert len(trained(plan, words, out, cluster, cache)) == 2
    assert trained(plan, words, out, cluster, cache) == []
    late = Sweep(make(vary={"seed": [5, 6, 7]}), words, out, cache)
    assert [p.recipe.seed for p in late.left] == [7]
    again, = trained(late.plan, words, out, cluster, cache)
    assert again.point.recipe.seed == 7 and (again.number, again.total) == (3, 3)
    assert list(late.outcomes(cluster=cluster.scheduler_address)) == []         # another one has trained it
    plan = late.plan
    assert {row["key"] for row in read_results(out)} == {p.key for p in plan.points()}
    with pytest.raises(DataError, match="another data set"):
        trained(plan, fewer(words, tmp_path), out, cluster, cache)


def fewer(words, folder):
    """The same words, one clip fewer."""
    copy = folder / "words"
    for path in sorted(words.rglob("*.wav"))[1:]:
        link = copy / path.relative_to(words)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return copy


def test_each_speaker_is_left_out_in_turn(make, cluster, words, cache, tmp_path):
    speakers = ("0001", "0002")
    plan, out = make(vary={}, speakers=list(speakers), theta=[1]), tmp_path / "out"
    assert not any(o.error for o in trained(plan, words, out, cluster, cache))
    rows = read_results(out)
    assert [row["speaker"] for row in rows] == list(speakers)
    assert [row["test_clips"] for row in rows] == [4, 4]           # one of each word
    with pytest.raises(DataError, match="no clips of the speaker 'ann'"):
        Sweep(make(speakers=["ann"]), words, out, cache)
    sweep = Sweep(make(speakers="each"), words, tmp_path / "each", cache)
    assert len({p.speaker for p in sweep.points}) == 20 and len(sweep.left) == 40


def test_a_point_that_fails_leaves_the_others(make, cluster, words, cache, tmp_path):
    plan, out = make(vary={}, variants=[
        {"label": "odd", "set": {"budget_lanes": 3}}, {"label": "wrong", "set": {"gru": [10_000_000]}},
        {"label": "right", "set": {}}]), tmp_path / "out"
    outcomes = {o.point.label: o for o in trained(plan, words, out, cluster, cache)}
    assert outcomes["odd"].error.startswith("lanes must be a power of two")
    assert outcomes["wrong"].error.startswith("RuntimeError: ")
    assert outcomes["right"].error == "" and {row["label"] for row in read_results(out)} == {"right"}
    trace, = (out / "logs").glob("*.txt")       # only of what is no mistake of a user
    assert trace.stem == outcomes["wrong"].point.key and "Traceback" in trace.read_text()


@contextmanager
def killer(cluster, deaths):
    """Kills (-9) the next ``deaths`` workers that are at work; yields the list of their process numbers."""
    killed, stop = [], Event()

    def hunt():
        while len(killed) < deaths and not stop.wait(0.002):
            for worker in list(cluster.scheduler.workers.values()):
                pid = cluster.workers[worker.name].pid
                if len(killed) < deaths and worker.processing and pid and pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    thread = Thread(target=hunt)
    thread.start()
    yield killed
    stop.set()
    thread.join()


def test_a_worker_that_dies_loses_no_finished_point(make, cluster, words, cache, tmp_path):
    plan, out = make(vary={"seed": [1, 2, 3, 4]}), tmp_path / "out"
    outcomes = Sweep(plan, words, out, cache).outcomes(cluster=cluster.scheduler_address)
    seen = [next(outcomes)]
    finished = read_results(out)
    with killer(cluster, 1) as killed:
        seen += outcomes
    assert len(killed) == 1
    assert sorted(o.point.key for o in seen) == sorted(p.key for p in plan.points()) and not any(o.error for o in seen)
    rows = read_results(out)
    assert len(finished) == 3 and all(row in rows for row in finished) and len(rows) == 4 * 3


def test_a_point_whose_workers_always_die_is_given_up(make, cluster, words, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    sweep = Sweep(make(), words, tmp_path / "out", cache)
    with killer(cluster, 1) as killed:
        outcomes = list(sweep.outcomes(cluster=cluster.scheduler_address))
    assert len(killed) == 1 and len(outcomes) == 2
    assert [o.error for o in outcomes if not o.rows] == ["its worker died, 1 times in all; is there enough memory?"]
    assert len(read_results(tmp_path / "out")) == 3


def test_no_cluster_and_no_data_are_one_line(make, words, cache, tmp_path, monkeypatch):
    monkeypatch.setattr("tidegate.train.study.cluster._CONNECT", 0.3)
    for address in ("tcp://127.0.0.1:1", "nonsense", "no://where:1"):
        with pytest.raises(TidegateError, match=f"no cluster answers at '{address}'"):
            list(Sweep(make(), words, tmp_path / "out", cache).outcomes(cluster=address))
    with pytest.raises(DataError, match="no folder"):
        Sweep(make(), tmp_path / "none", tmp_path / "out", cache)
    assert not (tmp_path / "none").exists()


def test_workers_that_do_not_start_are_one_line(make, words, cache, tmp_path, monkeypatch):
    def killed(**options):
        raise RuntimeError("Nanny failed to start.\nTraceback")

    monkeypatch.setattr("tidegate.train.study.cluster.LocalCluster", killed)
    sweep = Sweep(make(), words, tmp_path / "out", cache)
    with pytest.raises(TidegateError, match=r"workers on this machine did not start \(Nanny failed .*; try again"):
        list(sweep.outcomes(workers=1))


def test_workers_of_another_version_are_refused(make, cluster, words, cache, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0.1")
    with pytest.raises(TidegateError, match="here it is 0"):
        trained(make(), words, tmp_path / "out", cluster, cache)
