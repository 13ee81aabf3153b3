"""The task ``series``: to tell numbers in every frame, from the frames so far.  The logits are the answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tidegate.spec.model import Model
from tidegate.spec.readout import Readout

from ..data.augment import Batch
from ..data.series import Series, cut, read_records
from ..data.series_options import SeriesOptions
from ..data.split import PARTS
from ..errors import DataError
from ..recipe import Recipe
from .primary import NRMSE
from .protocol import BatchMaker, Loss


@dataclass(frozen=True)
class SeriesTask:
    """Regression on series at regular steps.

    The loss is the mean squared error over all frames after the warm-up, each output in units of its standard
    deviation in training.  The primary figure ``nrmse`` is the root of the mean squared error over the standard
    deviation of the target in the part that is judged, the mean over the outputs: 100 % is what a constant scores.
    """

    name: str = "series"
    primary = NRMSE

    def load(self, recipe: Recipe, directory: str | Path | None, *, cache: str | Path | None = None,
             progress: bool = False, speaker: str = "") -> Series:
        if recipe.reject or recipe.keywords or recipe.leave_out or recipe.stop_margin or recipe.balance:
            raise DataError(f"recipe '{recipe.name}': keywords, leave_out, reject, balance and stop_margin are for "
                            "classes, and the task 'series' has none; leave them out")
        options = recipe.series or SeriesOptions()
        return cut(read_records(_given(directory, speaker)), options, recipe.augmentation.jitter)

    def load_to_judge(self, model: Model, directory: str | Path | None, part: str | None, *,
                      cache: str | Path | None = None, progress: bool = False, speaker: str = "") -> Series:
        options = model.card.get("recipe", {}).get("series")
        records = read_records(_given(directory, speaker))
        if (width := records.records[0].x.shape[1]) != model.network.features:
            raise DataError(f"the data have {width} features, the model takes {model.network.features}; give the data "
                            "that it was trained for")
        return cut(records, SeriesOptions(**options) if options else SeriesOptions(), labels=tuple(model.labels))

    def survey(self, examples: Series) -> dict[str, Any]:
        return {part: {"pieces": len(examples.of(part)), "frames": int(examples.lengths[examples.of(part)].sum())}
                for part in PARTS}

    def lines(self, examples: Series) -> list[str]:
        judged = ", ".join(f"{int(examples.lengths[examples.of(part)].sum())} {part} frames" for part in PARTS[1:])
        return [f"task series: {len(examples.of('train'))} windows of {examples.options.window} frames to train, "
                f"{judged}; outputs {', '.join(examples.labels)}"]

    def front_end(self, recipe: Recipe) -> dict[str, Any]:
        return {}

    def readout(self, examples: Series) -> Readout:
        return Readout(examples.units, tuple(map(float, examples.offset)), tuple(map(float, examples.scale)),
                       examples.rate)

    def batches(self, recipe: Recipe, examples: Series, mean: np.ndarray, scale: np.ndarray) -> BatchMaker:
        return examples.batcher(mean, scale)

    def loss(self, recipe: Recipe, examples: Series, train: np.ndarray, device: torch.device) -> Loss:
        offset, scale = (torch.from_numpy(v).float().to(device) for v in (examples.offset, examples.scale))

        def squares(logits: Tensor, batch: Batch, frames: int) -> Tensor:
            (_, target), = batch.decisions
            wanted = ((target - offset) / scale).swapaxes(0, 1)
            counts = ~wanted.isnan()
            return (logits[counts] - wanted[counts]).square().mean()

        return squares

    def answers(self, model: Model, logits: np.ndarray, last: np.ndarray, early: bool) -> Iterable[np.ndarray]:
        """(frames, outputs) of each example, in the outputs' units."""
        values = model.numbers(logits)
        return [values[: n + 1, k] for k, n in enumerate(last)]

    def metrics(self, labels: tuple[str, ...], targets: np.ndarray, answers: Sequence[np.ndarray]) -> dict[str, Any]:
        """``nrmse``; per output ``rmse`` in its unit, ``r2``, and ``pearson`` (None where the answer never changes)."""
        wanted = np.concatenate([target[: len(answer)] for target, answer in zip(targets, answers, strict=True)])
        told, counts = np.concatenate(answers), ~np.isnan(wanted).any(1)
        wanted, told = wanted[counts].astype(np.float64), told[counts]
        rmse, spread = np.sqrt(((told - wanted) ** 2).mean(0)), wanted.std(0)
        moved = told.std(0)
        together = ((told - told.mean(0)) * (wanted - wanted.mean(0))).mean(0)
        pearson = [float(c / (a * b)) if a else None for c, a, b in zip(together, moved, spread, strict=True)]
        return {"nrmse": float((rmse / spread).mean()), "rmse": dict(zip(labels, map(float, rmse), strict=True)),
                "r2": dict(zip(labels, map(float, 1 - (rmse / spread) ** 2), strict=True)),
                "pearson": dict(zip(labels, pearson, strict=True))}


def _given(directory: str | Path | None, speaker: str) -> str | Path:
    if speaker:
        raise DataError(f"the task 'series' has no speakers; leave '{speaker}' out")
    if directory is None:
        raise DataError("the task 'series' needs its data: give an .npz file with x (T, features) and y (T, outputs), "
                        "or a folder of such files")
    return directory
