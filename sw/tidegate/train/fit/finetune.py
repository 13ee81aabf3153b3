"""A few more epochs for a converted model, with its thresholds in force, on the sequences of a user.

The forward pass is the golden model's, so that the network learns to live with rounding and Θ.  The model as it was, at
Θ = 0, is its teacher: it says how sure an answer is, not only which one is right.  Θ are chosen again
after each epoch, so that the training sequences keep to the wanted fetch reduction.  Where there are few sequences,
one of five is held out, and of all epochs, and the model as it was, that one is kept whose loss on these is least.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import torch

from tidegate.golden import DeltaNetwork
from tidegate.golden.calibration import CalibrationBatch, all_frames, sequences_of
from tidegate.golden.thresholds import ThetaPoint, ThetaSearch, Trial
from tidegate.spec.formats import SIGNAL
from tidegate.spec.model import Model

from ..errors import DataError
from .objective import until

_CLIP = 1.0                 # of the gradient's norm
_RATE, _UPDATES = 4e-3, 1000    # the highest learning rate, for so many updates or more
_RISE = 0.2                 # share of the updates in which the learning rate rises
_PRICE = 0.3               # of a fetched weight against a dense network's, in units of loss at the wanted reduction
_NOISE = 0.2                # on features while training, in units of 1
_TAUGHT, _TEMPERATURE = 0.7, 2.0        # share of the loss that is the teacher's, and how soft its answers are
_FRAMES = 0.5               # weight of what the teacher says in every frame, where only one answer counts
_JUDGED = 400               # sequences by which Θ are chosen
_HELD, _SOME = 5, range(50, 1000)       # one of so many sequences is held out, where there are so many


def finetune(model: Model, sequences: Any, targets: Any, epochs: int = 5, fetch_reduction: float | None = None, *,
             readout: str | None = None, learning_rate: float | None = None, batch: int = 8, seed: int = 0) -> Model:
    """The model, trained for ``epochs`` more on ``sequences`` (as the ``calibration`` of ``from_torch``) with the right
    classes ``targets``, one for each sequence or for each frame.

    ``fetch_reduction``: what the sequences shall have afterwards; None: Θ stay as they are.  ``readout``: as of
    ``from_torch``.  ``learning_rate``: the highest; it rises and falls once.  None: 4e-3, or less for fewer than 1000
    updates.  Formats of weights, mean and scale stay.

    Of 50 to 999 sequences every fifth is held out, and the epoch with the least loss on these is kept; epoch 0 is the
    model as it was, with Θ for the fetch reduction.  Of fewer, and of more, which spoil no network, all are learned and
    the last epoch is kept.  The card's entry "finetuned" has ``epochs``, the epoch that was kept (``best``),
    ``fetch_reduction`` and ``accuracy`` on all ``sequences``, ``held_out`` and ``held_out_accuracy``, and
    ``occupancy``.

    DataError without epochs or targets, and if the training diverges; ModelError for other mistakes in the data.
    """
    rate = _RATE if learning_rate is None else learning_rate
    if epochs < 1 or batch < 1 or not rate > 0:
        raise DataError(f"{epochs} epochs in batches of {batch} at a learning rate of {rate:g} train nothing; "
                        "give numbers above 0")
    if targets is None:
        raise DataError("fine-tuning needs to know what is right; give targets, a class number for each sequence")
    net = model.network
    pieces = all_frames(sequences, net.features)
    data = sequences_of(pieces, targets, net.classes, readout, most=sum(map(len, pieces)) + 1)
    right = data.targets
    assert right is not None
    frames = torch.from_numpy(model.quantise(data.frames)).float()
    network = DeltaNetwork.from_model(model)
    torch.set_flush_denormal(True)          # gradients too small for a float make products much slower
    judged = _some(data, _JUDGED)
    learned, held = _parted(len(data.lengths))
    network.thresholds = list(_thresholds(model, judged, fetch_reduction, None))
    updates = epochs * len(_batches(learned, data.lengths, batch, np.random.default_rng(0)))
    if learning_rate is None:
        rate *= min(1.0, updates / _UPDATES) ** 0.5
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=max(updates, 20) + 1,
                                                   pct_start=_RISE)
    columns = torch.tensor([float(net.column_weights(s)) for s in range(net.signals)])
    noise = torch.Generator().manual_seed(seed)
    tuned, teacher = model.with_thresholds(*network.thresholds), DeltaNetwork.from_model(model)
    unseen = _of(data, held) if len(held) else None
    best, best_epoch, least = tuned, 0, inf if unseen is None else _point(tuned, unseen).loss
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(learned)
        for part in _batches(order, data.lengths, batch, np.random.default_rng([seed, epoch, 1])):
            lengths = torch.from_numpy(data.lengths[part])
            heard = frames[: int(lengths.max()), torch.from_numpy(part)]
            with torch.no_grad():
                said = teacher(heard, dense=True).logits
            shaken = heard + (_NOISE * 2**SIGNAL.frac * torch.randn(heard.shape, generator=noise)).round_()
            run = network(shaken.clamp_(-SIGNAL.max, SIGNAL.max))
            loss = _loss(run.logits, said, lengths, torch.from_numpy(right[..., part]), data.readout)
            valid = until(lengths - 1, len(run.logits))
            fetched = sum((e * valid).sum() * c for e, c in zip(run.events, columns, strict=True)) / valid.sum()
            loss = loss + _PRICE * fetched * (fetch_reduction or 1.0) / net.dense_weights
            if not torch.isfinite(loss):
                raise DataError("the training has diverged; choose a lower learning_rate")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
            optimiser.step()
            schedule.step()
            network.clip_()
        tensors = model.tensors
        tuned = network.export(model.labels, model.frontend, tensors["frontend.mean"], tensors["frontend.scale"])
        if fetch_reduction is not None:
            network.thresholds = list(_thresholds(tuned, judged, fetch_reduction, network.thresholds))
            tuned = tuned.with_thresholds(*network.thresholds)
        loss = -inf if unseen is None else _point(tuned, unseen).loss
        if unseen is None or loss < least:
            best, best_epoch, least = tuned, epoch + 1, loss
    tuned, trial = best, _trial(best, judged)
    point = trial.point(tuned.network.thresholds)
    said = {"epochs": epochs, "best": best_epoch, "fetch_reduction": point.fetch_reduction, "accuracy": point.accuracy,
            "sequences": len(data.lengths), "held_out": len(held),
            "held_out_accuracy": None if unseen is None else _point(tuned, unseen).accuracy,
            "occupancy": list(trial.figures(trial.trace(tuned.network.thresholds)).occupancy)}
    return replace(tuned, card=model.card | {"finetuned": said}, stop=model.stop, detector=model.detector)


def _parted(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the sequences that are learned, and of those that are held out."""
    held = np.linspace(0, count - 1, count // _HELD if count in _SOME else 0).astype(int)
    return np.setdiff1d(np.arange(count), held), held


def _some(data: CalibrationBatch, most: int) -> CalibrationBatch:
    """At most so many of the sequences, taken evenly."""
    return _of(data, np.unique(np.linspace(0, len(data.lengths) - 1, min(most, len(data.lengths))).astype(int)))


def _of(data: CalibrationBatch, chosen: np.ndarray) -> CalibrationBatch:
    """The sequences of these numbers."""
    lengths = data.lengths[chosen]
    right = None if data.targets is None else data.targets[..., chosen]
    if right is not None and right.ndim == 2:
        right = right[: lengths.max()]
    return CalibrationBatch(data.frames[: lengths.max(), chosen], lengths, right, data.readout)


def _trial(model: Model, data: CalibrationBatch) -> Trial:
    steps, count, _ = data.frames.shape
    return Trial(model, data, np.zeros((steps, count, model.network.classes)))


def _point(model: Model, data: CalibrationBatch) -> ThetaPoint:
    """What a model makes of the sequences, with its own Θ."""
    return _trial(model, data).point(model.network.thresholds)


def _thresholds(model: Model, data: CalibrationBatch, wanted: float | None,
                balance: Sequence[int] | None) -> tuple[int, ...]:
    """Θ for a fetch reduction: on the line through ``balance``, or found anew."""
    if wanted is None:
        return model.network.thresholds
    trial = _trial(model, data)
    given = model.network.thresholds if balance is None else balance
    search = ThetaSearch(trial, [max(1.0, t) / max(1, *given) for t in given] if any(given) else [1.0] * len(given))
    return (search.for_reduction(wanted) if balance is None else search.along(wanted)).thresholds


def _batches(order: np.ndarray, lengths: np.ndarray, batch: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Batches of sequences of similar length, in random order."""
    groups = [g[np.argsort(lengths[g], kind="stable")] for g in np.array_split(order, -(-len(order) // (8 * batch)))]
    parts = [p for g in groups for p in np.array_split(g, -(-len(g) // batch))]
    return [parts[i] for i in rng.permutation(len(parts))]


def _loss(logits: torch.Tensor, said: torch.Tensor, lengths: torch.Tensor, right: torch.Tensor,
          readout: str) -> torch.Tensor:
    """Cross-entropy of the answers, and their divergence from the teacher's, ``said``; both (T, B, classes); ``right``
    (B,) or (T, B).  Where only one answer of a sequence counts, what the teacher says in its other frames is learned,
    too, if the teacher is right in the end: it tells what the hidden state is to hold on its way there."""
    valid = torch.arange(len(logits))[:, None] < lengths

    def answers(logits: torch.Tensor) -> torch.Tensor:
        if readout == "last":
            return logits[lengths - 1, torch.arange(len(lengths))]
        if readout == "mean":
            return (logits * valid[..., None]).sum(0) / lengths[:, None]
        return logits[valid]

    if readout == "frames":
        right = (right[: len(logits)] if right.ndim == 2 else right.expand(valid.shape))[valid]
    got, wanted = answers(logits), answers(said)
    taught = _TAUGHT * _divergence(got, wanted)
    if readout != "frames":
        trusted = valid & (wanted.argmax(-1) == right)
        share = trusted.sum() / valid.sum()
        taught = taught + _FRAMES * share * _divergence(logits[trusted], said[trusted]) if share else taught
    return (1 - _TAUGHT) * torch.nn.functional.cross_entropy(got, right.long()) + taught


def _divergence(logits: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
    """Mean Kullback-Leibler divergence of answers from the teacher's, both (n, classes)."""
    soft, softly = (torch.log_softmax(x / _TEMPERATURE, -1) for x in (logits, said))
    return torch.nn.functional.kl_div(soft, softly, reduction="batchmean", log_target=True) * _TEMPERATURE**2
