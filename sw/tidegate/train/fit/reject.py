"""How sure a keyword must be: a bias that lets ``unknown`` win more often, chosen on the validation part.

The bias goes into the classifier's own, so that golden, RTL and board know nothing of it.
"""

from dataclasses import replace

import numpy as np

from tidegate.spec.formats import BIAS_MAX, acc_frac
from tidegate.spec.model import Model

from ..data.folders import SILENCE, UNKNOWN
from ..judge.evaluate import last_logits
from ..tasks.protocol import Examples


def with_rejection(model: Model, features: Examples, loss: float) -> tuple[Model, dict]:
    """The model with the largest bias of ``unknown`` at which the keywords lose at most ``loss`` of their recall.

    Recall is the share of all keyword clips of the validation part that are decided right; the words that are to
    be rejected have no say.  Also gives what was chosen: ``bias`` (real units), ``recall`` before and after.  A model
    without ``unknown`` or a part without keywords stays as it is.
    """
    unknown = model.labels.index(UNKNOWN) if UNKNOWN in model.labels else -1
    clips = features.of("validation")
    special = [i for i, label in enumerate(model.labels) if label in (UNKNOWN, SILENCE)]
    clips = clips[~np.isin(features.targets[clips], special)]
    if unknown < 0 or not len(clips):
        return model, {"bias": 0.0, "recall": None, "recall_before": None}
    logits, targets = last_logits(model, features, clips), features.targets[clips]
    one = 1 << acc_frac(model.network.classifier.weight_frac)
    others = np.delete(logits, unknown, 1)
    right = logits.argmax(1) == targets
    margins = (others.max(1) - logits[:, unknown])[right]        # a bias above it turns a right answer into unknown
    allowed = int(loss * len(clips))
    bias = int(np.sort(margins)[allowed]) - 1 if allowed < len(margins) else 0
    old = int(model.tensors["classifier.bias"][unknown])
    bias = int(np.clip(max(bias, 0), 0, BIAS_MAX - old))
    values = model.tensors["classifier.bias"].copy()
    values[unknown] += bias
    return replace(model, tensors=model.tensors | {"classifier.bias": values}), {
        "bias": bias / one, "recall": float((right.sum() - (margins < bias).sum()) / len(clips)),
        "recall_before": float(right.mean())}


def with_balance(model: Model, features: Examples, least: float) -> tuple[Model, dict]:
    """The model with the bias of ``unknown``, 0 or below, at which most clips of the validation part are decided right
    while at least the share ``least`` of the other words is taken for no keyword (where no bias does that: most).

    Training on streams makes a network careful, as most of what it hears is to be rejected; on a clip, which may well
    be a keyword, it would be too careful.  The detector's threshold is to be set after this, and can make it as careful
    as one wants, but not less.  Also gives what was
    chosen, as ``with_rejection``, with ``rejected`` before and after.
    """
    unknown, clips = model.labels.index(UNKNOWN), features.of("validation")
    targets = features.targets[clips]
    kept = targets != (model.labels.index(SILENCE) if SILENCE in model.labels else -1)
    logits, targets = last_logits(model, features, clips)[kept].astype(np.int64), targets[kept]
    keyword = targets != unknown
    if keyword.all() or not keyword.any():
        return model, {"bias": 0.0, "recall": None, "recall_before": None}
    one = 1 << acc_frac(model.network.classifier.weight_frac)
    none = [i for i, label in enumerate(model.labels) if label in (UNKNOWN, SILENCE)]

    def shares(bias: int) -> tuple[float, float, float]:
        """Keywords' recall, rejected share of the others, accuracy."""
        moved = logits.copy()
        moved[:, unknown] += bias
        decided = moved.argmax(1)
        right = decided == targets
        return float(right[keyword].mean()), float(np.isin(decided[~keyword], none).mean()), float(right.mean())

    def worth(bias: int) -> tuple:
        _, rejected, accuracy = shares(bias)
        return min(rejected, least), accuracy, -abs(bias)

    steps = [int(x * one) for x in np.linspace(-3, 0, 61)]
    old = int(model.tensors["classifier.bias"][unknown])
    steps = [b for b in steps if abs(old + b) <= BIAS_MAX]
    best = max(steps, key=worth)
    values = model.tensors["classifier.bias"].copy()
    values[unknown] += best
    before, after = shares(0), shares(best)
    return replace(model, tensors=model.tensors | {"classifier.bias": values}), {
        "bias": best / one, "recall": after[0], "recall_before": before[0], "rejected": after[1],
        "rejected_before": before[1]}
