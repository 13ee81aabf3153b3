"""A sweep: many trainings on all cores of this machine or on a Dask cluster; each is kept as soon as it is finished.

Recipes travel to the workers as tasks.  Features are loaded once here and sent to every worker, so that a worker needs
no data set, and a worker that replaces a dead one gets them, too.  No more tasks are handed out than there are threads,
because Dask blames the death of a worker on every task that waits there.
"""

import json
import platform
import tempfile
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, perf_counter
from typing import Any

import numpy as np
import torch
from dask.system import CPU_COUNT
from distributed import Client, Future, KilledWorker

from tidegate import __version__
from tidegate.spec.errors import TidegateError
from tidegate.spec.model import read_model

from ..data.folders import DataSet, scan, scan_for
from ..data.split import JUDGED, UNSEEN
from ..errors import DataError
from ..fit.loop import Trainer
from ..fit.memory import keep_freed_memory
from ..judge.evaluate import evaluate
from ..recipe import WORDS, Recipe
from ..tasks.protocol import Examples
from ..tasks.registry import find_task
from .cluster import BROUGHT, KEPT, PATIENCE, connect, line_of, local, next_of, not_lost, sent
from .early import early_rows
from .plan import EACH, Plan, Point, Setting, read_plan, thresholds_at
from .results import Results, read_early, read_results, summary, sweep_figures

__all__ = ["Outcome", "Sweep", "read_early", "read_plan", "read_results", "summary"]

_MOST_SPEAKERS = 50     # features of each travel to every worker
_OF_TRAINING = ("name", "about", "attribution", "limits", "seed", "gru", "thresholds", "anneal", "delta",
                "learn_thresholds", "threshold_rate", "sparsity_cost", "budget", "budget_lanes", "agility",
                "weight_fracs", "weight_bits", "hidden_noise", "epochs", "batch", "learning_rate", "weight_decay",
                "clip", "patience")      # fields that no task's examples depend on


@dataclass(frozen=True)
class Outcome:
    """A point that is finished: its ``rows``, one a setting of Θ, or, without any, the ``error`` in one line.

    It is the ``number``-th of ``total`` points; those that were there before are counted first.
    """

    point: Point
    rows: list[dict[str, Any]]
    error: str
    number: int
    total: int


class Sweep:
    """A plan on a folder of words, or on the data of another task, with results in ``out``.

    ``points``: all of them; ``left``: those that are not in ``out`` yet; ``features``: what these need.  DataError if
    plan and data do not match, or ``out`` holds something else.
    """

    def __init__(self, plan: Plan, directory: str | Path, out: str | Path, cache: str | Path | None = None,
                 progress: bool = False):
        self.plan = plan
        tasks = {p.recipe.task for p in plan.points()}
        if len(tasks) > 1:
            raise DataError(f"sweep '{plan.name}': its points have the tasks {', '.join(sorted(tasks))}, whose figures "
                            "make no common table; give each a sweep of its own")
        self.features: dict[str, Examples] = {}
        if tasks == {WORDS}:
            data = scan(directory)
            self.points, identity = plan.points(_speakers(plan, data)), _identity(data)
            for p in {_features_name(p): p for p in self.points}.values():         # complain before hours are spent
                scan_for(p.recipe, directory, p.speaker)
        else:
            if plan.speakers == EACH:
                raise DataError(f"sweep '{plan.name}': 'speakers' is \"{EACH}\", which is for folders of words; list "
                                "those to leave out")
            self.points = plan.points(plan.speakers or ("",))
            self._load({_features_name(p): p for p in self.points}, directory, cache, progress)
            identity = _identity_of_examples(directory, list(self.features.values()))
        self.results = Results(out, plan, (p.key for p in self.points), identity)
        done = self.results.done
        self.left = [p for p in self.points if p.key not in done]
        wanted = {_features_name(p): p for p in self.left}
        self.features = {name: examples for name, examples in self.features.items() if name in wanted}
        self._load(wanted, directory, cache, progress)

    def _load(self, points: dict[str, Point], directory: str | Path, cache: str | Path | None, progress: bool) -> None:
        """The examples of these points that are not there yet."""
        for name, p in points.items():
            if name not in self.features:
                self.features[name] = find_task(p.recipe.task).load(p.recipe, directory, cache=cache, progress=progress,
                                                                    speaker=p.speaker)

    def outcomes(self, workers: int | None = None, cluster: str | None = None) -> Iterator[Outcome]:
        """Train what is left, on ``workers`` processes (default: one a core) or on the cluster at an address."""
        if not self.left:
            return
        there = connect(cluster) if cluster else local(min(workers or CPU_COUNT, len(self.left)))
        with there as client, sent(client, self.features) as names:
            yield from self._train(client, names, f"the cluster at '{cluster}'" if cluster else "the worker processes")

    def _train(self, client: Client, names: dict[str, str], where: str) -> Iterator[Outcome]:
        waiting, running, finished = deque(self.left), {}, SimpleQueue()
        number, alive = len(self.points) - len(self.left), monotonic()
        while waiting or running:
            with not_lost(client, where):
                counts: Any = client.nthreads()
                threads = sum(counts.values())
                while waiting and len(running) < threads:
                    p = waiting.popleft()
                    if p.key in self.results.done:          # another process has trained it
                        number += 1
                        continue
                    arguments = (p.recipe.to_dict(), self.plan.theta, names[_features_name(p)], self.plan.margins,
                                 self.plan.bits)
                    task = client.submit(train_point, *arguments, pure=False)
                    running[task] = p
                    task.add_done_callback(finished.put)
                answers = [(running.pop(task), _answer(task)) for task in next_of(finished)]
            alive = monotonic() if threads else alive
            if monotonic() - alive > PATIENCE:
                raise TidegateError(f"{where} had no worker for {PATIENCE} s; {KEPT}")
            for point, answer in answers:
                number += 1
                yield self._keep(point, answer, number)

    def _keep(self, point: Point, answer: dict[str, Any], number: int) -> Outcome:
        if "error" in answer:
            self.results.fail(point.key, answer.get("trace", ""))
            return Outcome(point, [], answer["error"], number, len(self.points))
        recipe = point.recipe
        same = {"key": point.key, "label": point.label, "speaker": point.speaker, **point.varied, "seed": recipe.seed,
                "epochs": recipe.epochs, "file_bytes": len(answer["model"])} | answer["same"]
        rows = [same | row for row in answer["rows"]]
        self.results.add(point.key, answer["model"], answer["log"], rows, [same | row for row in answer["early"]])
        return Outcome(point, rows, "", number, len(self.points))


def train_point(recipe: dict, theta: Iterable[Setting], features: str,
                margins: Iterable[float | None] = (), bits: bool = False) -> dict[str, Any]:
    """A worker's task: train a recipe on features that it was sent under a name.

    Returns ``model``, the bytes of the file; ``log``, one entry per epoch; ``same``, the columns that all rows share;
    ``rows``, the other columns, one row per setting of Θ, with ``bits`` also significant bits; ``early``, one row per
    setting and margin.  Or returns ``error``, in one line, with ``trace`` if the user did not cause the error.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tidegate"
            return _trained(Recipe.from_dict(recipe), theta, margins, bits, BROUGHT[features], path)
    except TidegateError as error:
        return {"error": line_of(error)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {line_of(error)}", "trace": traceback.format_exc()}


def _trained(recipe: Recipe, theta: Iterable[Setting], margins: Iterable[float | None], bits: bool,
             features: Examples, path: Path) -> dict[str, Any]:
    start = perf_counter()
    trainer = Trainer(recipe, features, path)
    log = [asdict(epoch) for epoch in trainer.epochs()]
    seconds, model = round(perf_counter() - start, 2), read_model(path)
    same = {"dense_weights": model.network.dense_weights, "weight_bytes": model.network.weight_bytes,
            "epoch": model.card["epoch"], "seconds": seconds, "tidegate": __version__, "torch": torch.__version__,
            "device": _device_name(trainer.device)}
    rows, early, names = [], [], sweep_figures(find_task(recipe.task).primary, bits)
    for setting in theta:
        at = thresholds_at(setting, model.network.thresholds)
        row = {"theta": at, "factor": None if isinstance(setting, tuple) else setting}
        early += [row | more for more in early_rows(model.with_thresholds(*at), features, margins)]
        for part in (*JUDGED, UNSEEN):
            if len(features.of(part)):
                f = evaluate(model.with_thresholds(*at), features, part, bits=bits)
                f |= {"clips": f["utterances"], "weights_per_frame": f["weights"] / f["frames"]}
                row |= {f"{part}_{name}": f.get(name) for name in names}
        rows.append(row)
    return {"model": path.read_bytes(), "log": log, "same": same, "rows": rows, "early": early}


def _device_name(device: torch.device) -> str:
    """A GPU's name; of a CPU its kind and its vector instructions, on which the order of sums depends."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _answer(task: Future) -> dict[str, Any]:
    """What ``train_point`` returned, or an ``error`` if it never could."""
    try:
        return task.result()
    except KilledWorker as error:
        return {"error": f"its worker died, {error.allowed_failures + 1} times in all; is there enough memory?"}


def _features_name(point: Point) -> str:
    """The same for points that train on the same features."""
    r = point.recipe
    if r.task != WORDS:         # what another task makes of its data may depend on any field but these
        return json.dumps([{k: v for k, v in r.to_dict().items() if k not in _OF_TRAINING}, point.speaker])
    return json.dumps([r.frontend.to_dict(), r.keywords, r.unknown, r.silence, r.leave_out, point.speaker])


def _speakers(plan: Plan, data: DataSet) -> tuple[str, ...]:
    if plan.speakers is None:
        return ("",)
    if plan.speakers != EACH:
        return tuple(plan.speakers)
    found = tuple(sorted({clip.speaker for clip in data.clips if clip.speaker}))
    if len(found) > _MOST_SPEAKERS:
        raise DataError(f"sweep '{plan.name}': 'speakers' is \"{EACH}\", but '{data.root}' has {len(found)}; "
                        f"list those to leave out, at most {_MOST_SPEAKERS}")
    return found


def _identity(data: DataSet) -> dict[str, Any]:
    """What ``data.json`` says of a data set; the digest does not depend on where it lies."""
    clips = [(clip.path, clip.part) for clip in data.clips]
    digest = sha256(json.dumps([clips, data.noise]).encode()).hexdigest()
    return {"folder": str(data.root), "clips": len(clips), "digest": digest}


def _identity_of_examples(directory: str | Path, examples: list[Examples]) -> dict[str, Any]:
    """The same for the data of another task: their frames and answers."""
    digest = sha256()
    for each in examples:
        for array in (each.targets, each.parts, each.offsets, each.content):
            digest.update(np.ascontiguousarray(array).tobytes())
    return {"folder": str(directory), "clips": len(examples[0].parts), "digest": digest.hexdigest()}
