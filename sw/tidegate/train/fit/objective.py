"""What training minimises beside the cross-entropy and the movements of the hidden states (``golden.network.Output``):
the rates of spikes, and the words of a frame, with the price at which the network just keeps to its budget.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tidegate.golden.general import Signal

_START, _LIMITS = 0.05, (1e-4, 3.0)                     # price in units of loss
_REACH = 20.0                                           # powers of e by which a run may change it, at most 0.05 a batch
_GAIN = 1.5                                             # full speed from 1.5 times the budget on
_MEMORY = 0.95                                          # of the mean over batches


def distance_of_rates(signal: Signal, most: float) -> Tensor:
    """Mean over the neurons of the squared share by which a neuron's spikes per frame of a batch exceed ``most``."""
    rates = signal.sent.abs().mean((0, 1)) / signal.sent.detach().abs().amax().clamp_min(1)
    return (rates - most).clamp_min(0).square().mean()


def until(last: Tensor, steps: int) -> Tensor:
    """(T, B): 1 up to the frame ``last`` (B,) of each clip, 0 for the padding behind it."""
    return (torch.arange(steps, device=last.device)[:, None] <= last).float()


class Budget:
    """The price of weight words, by dual ascent: it rises while a frame costs more than the budget, else it falls.

    ``columns``: words of a column of each signal; ``target``: words a frame, first frames of clips included; ``steps``:
    batches in the whole run.  Training clips are noisier than those that count, so the batches' target is scaled by
    what both cost in the last epoch.
    """

    def __init__(self, columns: Sequence[float], target: float, steps: int):
        self.columns, self.target, self.rate = columns, target, min(0.05, _REACH / steps)
        self.price, self.words, self.noisier = _START, 0.0, 1.0

    def cost(self, events: list[Tensor], valid: Tensor, share: float) -> Tensor:
        """Loss of a batch from its events a frame, (T, B) per signal.

        ``share`` of Θ that is in force while it is annealed in: the budget is so much wider, what is paid so much
        less, and the price does not fall yet.
        """
        total = torch.stack([(e * valid).sum() * c for e, c in zip(events, self.columns, strict=True)]).sum()
        words = total / valid.sum()
        self.words += (words.item() - self.words) * (1 - _MEMORY if self.words else 1)
        over = math.log(max(words.item(), 1e-3) * share / (self.target * self.noisier))
        change = self.rate * max(-1.0 if share == 1 else 0.0, min(1.0, _GAIN * over))
        self.price = min(max(self.price * math.exp(change), _LIMITS[0]), _LIMITS[1])
        return words * (share * self.price / self.target)

    def measured(self, words: float) -> None:
        """What a frame of the clips that count costs, after an epoch."""
        if words and self.words:
            self.noisier = self.words / words

    def state(self) -> dict:
        return {"price": self.price, "words": self.words, "noisier": self.noisier}

    def restore(self, state: dict) -> None:
        self.price, self.words, self.noisier = state["price"], state["words"], state["noisier"]
