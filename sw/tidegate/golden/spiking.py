"""Spiking float networks as models: their own thresholds and leaks, weights rounded, spikes compared."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..spec.formats import SIGNAL
from .calibration import all_frames, normalisation, sequences_of
from .chain import FloatChain
from .conversion import Conversion, SpikeReport
from .figures import figures
from .judge import Golden
from .rounding import rounded_model

_MOST_SATURATED = 0.001


def converted_spikes(chain: FloatChain, labels: Sequence[str] | None, frontend: dict | None, mean, scale,
                     card: dict | None, calibration: Any, targets: Any, readout: str | None, clip: bool) -> Conversion:
    """A model of a chain that spikes; arguments as of ``convert``.

    With calibration data, features that enter as values are normalised as of other networks; features that enter as
    spikes are not.  The answer is the mean of the logits of all frames, unless it is said otherwise.
    """
    if chain.features_scale is not None:
        scale = chain.features_scale if scale is None else np.asarray(scale) * chain.features_scale
    pieces = None if calibration is None else all_frames(calibration, chain.features)
    if pieces is not None and mean is None and scale is None and chain.features_firing is None:
        mean, scale = normalisation(np.concatenate(pieces))
        chain = chain.on_normalised(mean, scale)
    model, scales = rounded_model(chain, None, labels, frontend, mean, scale, card, clip)
    warnings = [s.warning for s in scales if s.warning]
    if pieces is None:
        return Conversion(model, None, tuple(warnings))
    if (share := model.saturated(np.concatenate(pieces))) > _MOST_SATURATED:
        warnings.append(f"{share:.1%} of the calibration data lie beyond ±8 and saturate; scale the features")
    per_frame = targets is not None and len(targets) and np.ndim(targets[0])
    batch = sequences_of(pieces, targets, chain.classes, readout or (None if per_frame else chain.readout or "mean"))
    mean, scale = (model.tensors[f"frontend.{what}"].astype(np.float64) for what in ("mean", "scale"))
    heard = (batch.frames - mean) * scale
    signals, logits = chain.run(heard)
    golden = Golden(model)
    trace = golden.run(model.quantise(batch.frames), keep_sent=True)
    assert trace.sent is not None
    firing = [("features", trace.sent[0], chain.features_firing and chain.features_firing.run(
        torch.from_numpy(heard)))] + [(f"layer {l}", trace.sent[l + 1], signal if layer.firing else None)
                             for l, (layer, signal) in enumerate(zip(chain.layers, signals, strict=True))]
    rows = []
    for name, sent, wanted in firing:
        if wanted is not None:
            got, said = (sent >> SIGNAL.frac)[batch.valid], wanted.numpy()[batch.valid]
            rows.append((name, float(got.mean()), float(said.mean()), float((got != said).mean())))
    got, wanted = batch.answers(trace.logits * 2.0**-golden.logit_frac), batch.answers(logits.numpy())
    right = batch.right
    accuracies = [None if right is None else float((x.argmax(1) == right).mean()) for x in (got, wanted)]
    names, rates, of_float, differ = zip(*rows, strict=True)
    report = SpikeReport(batch.frames.shape[1], int(batch.valid.sum()), names, rates, of_float, differ, len(wanted),
                         batch.readout, float((got.argmax(1) == wanted.argmax(1)).mean()), accuracies[0], accuracies[1],
                         figures(model.network, trace.events, batch.lengths).occupancy, batch.given)
    return Conversion(replace(model, card=model.card | {"conversion": report.to_dict()}), None, tuple(warnings), report)
