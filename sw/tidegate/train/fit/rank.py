"""Rank coding: a batch ends where its members have decided, and the loss is that of the decisions.

Jeffares et al. 2021 (arXiv:2110.02865): loss and back-propagation stop at the first step at which an output crosses a
threshold, or at the last if none does.  The step is found by the rule of ``spec/stop.py`` on the golden integers, first
frame included, and no gradient passes through it: what makes a network decide early is that the loss raises the lead
where it is judged, so that it is there a little sooner the next time.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tidegate.golden import DeltaNetwork
from tidegate.spec.stop import Stop

from ..data.augment import Batch


def until_decided(network: DeltaNetwork, batch: Batch, stop: Stop, thresholds: Sequence[Tensor | int]) -> Batch:
    """The batch up to the frame in which its last member has decided, with the decisions' frames in place of the ends.

    Where several words follow each other, a word begins when the one before has ended.
    """
    lasts = [last for last, _ in batch.decisions]
    firsts = [torch.zeros_like(lasts[0]), *(last + 1 for last in lasts[:-1])]
    at = network.decide(batch.frames, list(zip(firsts, lasts, strict=True)), stop, thresholds)
    decisions = [(frame, target) for frame, (_, target) in zip(at, batch.decisions, strict=True)]
    return Batch(batch.frames[: int(at[-1].max()) + 1], decisions)


def entropy(logits: Tensor, batch: Batch) -> Tensor:
    """Mean entropy in nats of the softmax of logits (T, B, classes) where a batch decides."""
    found = []
    for frame, _ in batch.decisions:
        log_p = logits[frame, torch.arange(len(frame), device=logits.device)].log_softmax(-1)
        found.append(-(log_p.exp() * log_p).sum(-1))
    return torch.cat(found).mean()
