"""What all tasks with classes share: cross-entropy, the largest logit as the answer, accuracy."""

from collections.abc import Sequence
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor

from tidegate.spec.model import Model
from tidegate.spec.readout import Readout
from tidegate.spec.stop import clearest

from ..data.augment import Batch
from ..data.folders import SILENCE, UNKNOWN
from ..recipe import Recipe
from .primary import ACCURACY
from .protocol import E, Loss


class Classifier(Generic[E]):
    """Loss, answers and metrics of a task whose targets (n,) are class numbers."""

    primary = ACCURACY

    def loss(self, recipe: Recipe, examples: E, train: np.ndarray, device: torch.device) -> Loss:
        """Cross-entropy with the recipe's label smoothing and balance of the classes."""
        weights = class_weights(examples.targets[train], len(examples.labels), recipe.balance).to(device)

        def cross_entropy(logits: Tensor, batch: Batch, frames: int) -> Tensor:
            losses, logits = [], read_out(logits, recipe.readout_frames)
            for last, target in batch.decisions:
                for back in range(frames):
                    picked = logits[(last - back).clamp_min(0), torch.arange(len(target), device=device)]
                    losses.append(torch.nn.functional.cross_entropy(
                        picked, target, weight=weights, label_smoothing=recipe.label_smoothing))
            return torch.stack(losses).mean()

        return cross_entropy

    def readout(self, examples: E) -> Readout | None:
        return None

    def answers(self, model: Model, logits: np.ndarray, last: np.ndarray, early: bool) -> np.ndarray:
        """(B,) class numbers: of the largest logit in the last frame, or the largest sum of logits over the frames of
        the recipe's ``readout_frames``; of a model with a detector, the class that leads by most in any frame."""
        if model.detector is None or early:
            window = model.card.get("recipe", {}).get("readout_frames", 1)
            if window != 1:
                sums = logits.cumsum(0, dtype=np.int64)
                if window:
                    sums[window:] -= sums[:-window].copy()
                return sums[last, np.arange(len(last))].argmax(-1)
            return logits[last, np.arange(len(last))].argmax(-1)
        return np.array([clearest(logits[: n + 1, k], model.detector)[1] for k, n in enumerate(last)])

    def metrics(self, labels: tuple[str, ...], targets: np.ndarray, answers: Sequence[int]) -> dict[str, Any]:
        """``accuracy``; ``recall`` per label (None without clips); ``confusion``: rows are the truth; ``rejected``:
        share of the clips of ``unknown`` that were taken for no keyword (None without clips)."""
        confusion = np.zeros((len(labels), len(labels)), np.int64)
        np.add.at(confusion, (targets, np.array(answers)), 1)
        recall = {label: float(row[k] / row.sum()) if row.sum() else None
                  for k, (label, row) in enumerate(zip(labels, confusion, strict=True))}
        return {"accuracy": float(np.trace(confusion) / len(targets)), "recall": recall,
                "confusion": confusion.tolist(), "rejected": _rejected(labels, confusion)}


def read_out(logits: Tensor, window: int) -> Tensor:
    """Means (T, B, classes) of logits over the ``window`` last frames up to each frame, over all of them for 0."""
    if window == 1:
        return logits
    sums, frames = logits.cumsum(0), torch.arange(1, len(logits) + 1, device=logits.device)
    if 0 < window < len(logits):
        sums = torch.cat([sums[:window], sums[window:] - sums[:-window]])
        frames = frames.clamp_max(window)
    return sums / frames[:, None, None]


def class_weights(targets: np.ndarray, classes: int, balance: float) -> Tensor:
    """Weight (classes,) in the loss of a clip of each class: the class's size to the power -balance, scaled so that the
    mean over all clips is 1."""
    sizes = np.bincount(targets, minlength=classes).clip(min=1)
    weights = sizes ** -balance
    return torch.from_numpy((weights / (weights * sizes).sum() * sizes.sum()).astype(np.float32))


def _rejected(labels: tuple[str, ...], confusion: np.ndarray) -> float | None:
    """None without clips of ``unknown``."""
    if UNKNOWN not in labels or not confusion[labels.index(UNKNOWN)].any():
        return None
    row = confusion[labels.index(UNKNOWN)]
    return float(sum(row[i] for i, label in enumerate(labels) if label in (UNKNOWN, SILENCE)) / row.sum())
