"""The classifier of a converted network, fitted to what Θ leaves of the hidden state, in closed form.

At a large Θ the state that the classifier hears lags behind that of the float network, and not by chance alone.  Of all
classifiers W', b' the one is taken that gives the float network's logits with the least squared error, while it pays
for its distance from W:

    Σ |W'·v̂ + b' − logits|² + λ·|W' − W|²          λ has the least error where each answer is left out in turn
"""

from dataclasses import replace

import numpy as np
import torch

from ..spec.formats import SIGNAL
from .chain import FloatChain
from .thresholds import Trial

_PRICES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)         # λ against the mean square of a neuron, summed over the answers
_FREE = 1e-6                                    # the same for b', which costs nothing but must be found


def refitted(chain: FloatChain, trial: Trial) -> FloatChain:
    """The network with a classifier that is fitted to the thresholds of the trial's model."""
    anchors = trial.trace(trial.model.network.thresholds, keep=True).anchors
    assert anchors is not None
    heard = trial.sequences.answers(anchors[-1] * 2.0**-SIGNAL.frac)
    weight, bias = fitted(heard, trial.expected, chain.weight.numpy(), chain.bias.numpy())
    return replace(chain, weight=torch.from_numpy(weight), bias=torch.from_numpy(bias))


def fitted(heard: np.ndarray, wanted: np.ndarray, weight: np.ndarray,
           bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classifier (classes, H) and (classes,) that makes ``wanted`` (n, classes) of ``heard`` (n, H), near the one
    that is given; the given one, if the answers that are left out are nearest to it."""
    missed = wanted - heard @ weight.T - bias
    inputs = np.concatenate([heard, np.ones((len(heard), 1))], 1)
    products = inputs.T @ inputs
    power = max(float((heard**2).sum()) / heard.shape[1], 1e-12)
    best, change = float((missed**2).sum()), None
    for price in _PRICES:
        penalty = np.full(len(products), price * power)
        penalty[-1] = _FREE * len(heard)
        solved = np.linalg.solve(products + np.diag(penalty), inputs.T)         # (H + 1, n)
        found = solved @ missed
        own = np.einsum("nh,hn->n", inputs, solved)[:, None]                    # the share of an answer in its own fit
        error = float((((missed - inputs @ found) / np.maximum(1 - own, 1e-9)) ** 2).sum())
        if error < best:
            best, change = error, found
    if change is None:
        return weight, bias
    return weight + change[:-1].T, bias + change[-1]
