"""Any trained ``torch.nn.GRU``, or module of another cell, as a delta network: a scale per layer, round, choose Θ.

``convert`` gives the model and a report; ``from_torch`` only the model, whose card holds the report under
``conversion``.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..spec.errors import ModelError, TidegateWarning
from ..spec.model import Model
from .calibration import all_frames, normalisation, sequences_of
from .chain import FloatChain
from .conversion import MOST_SATURATED, Conversion, ConversionReport, report_of
from .refit import refitted
from .rounding import Scale, rounded_model
from .spiking import converted_spikes
from .state_dict import chain_of
from .thresholds import ThetaSearch, Trial

_NAMED = 3                  # features in a message
_FAR = 1.0                  # deviations that a feature's mean is away from 0 in features that are not normalised
_REFIT_FRAMES = 40_000      # to which a classifier is fitted; Θ are chosen on fewer


class ConversionWarning(TidegateWarning):
    """A network loses accuracy by its conversion; the text says why, and what to do about it."""


def from_torch(rnn: Mapping[str, Tensor] | nn.Module, classifier: Mapping[str, Tensor] | nn.Module | None = None,
               thresholds: Sequence[int] | None = None, labels: Sequence[str] | None = None,
               frontend: dict | None = None, mean=None, scale=None, card: dict | None = None, *,
               calibration: Any = None, targets: Any = None, fetch_reduction: float | None = None,
               max_loss: float | None = None, readout: str | None = None, clip: bool = False,
               refit: bool = True) -> Model:
    """A model from a ``torch.nn.GRU`` (or PyTorch's module of another of ``spec.cells``) and the ``torch.nn.Linear``
    behind its last layer: modules, or their state dicts, or one module that holds one of each.

    1 to 32 layers, one direction, with or without biases (batch_first does not matter).  ``thresholds``: Θ per
    signal in LSBs of 2**-8 (default all 0).  ``labels`` default to "0", "1", ...  The bias of a gate that hears input
    and own state is b_ih + b_hh.

    ``mean``, ``scale`` (features,): the network was trained on ``(feature - mean) · scale``; default: on the features
    themselves.  A core represents these values within ±8; larger ones saturate.  ``calibration``: features such as the
    model will hear, (frames, features) or (sequences, frames, features), or a list of sequences of any length.  Without
    ``mean`` and ``scale`` these are computed from the calibration data, and the weights and biases of the first layer
    are changed to match, so that the network computes the same.

    In place of ``thresholds``: ``fetch_reduction``, such as 8: Θ are chosen so that the calibration data need so many
    times fewer weights, at the least loss; or ``max_loss``, such as 0.5: so many percentage points may be lost, and Θ
    are as large as that allows.  What is lost is accuracy, if ``targets`` say what is right (a class number for each
    sequence, or for each of its frames), else agreement with the best class of the float network.  ``readout``: an
    answer is read in the "last" frame (the default with one target for a sequence), is the "mean" of all frames, or is
    every one of the "frames" (the default otherwise).

    ``refit``: where Θ is chosen, the classifier is fitted to what Θ leaves of the hidden state, so that its logits are
    nearest to the float network's (``refit.py``); it stays as it is where that does not help.

    With calibration data the card's entry "conversion" is ``ConversionReport.to_dict()``; ``convert`` gives the report
    itself.

    Every layer gets the finest scale at which nothing is clipped and no accumulator can wrap.  ``clip``: the scale at
    which the weights have the least squared error, with those clipped that are too large for it.

    Warns (ConversionWarning) of whatever costs accuracy, such as calibration data that saturate, or a layer in which a
    few weights make all others coarser.  ModelError for any other state dict, for weights that fit no scale, and for
    NaN.
    """
    return convert(rnn, classifier, thresholds, labels, frontend, mean, scale, card, calibration=calibration,
                   targets=targets, fetch_reduction=fetch_reduction, max_loss=max_loss, readout=readout,
                   clip=clip, refit=refit, stacklevel=3).model


def convert(network: FloatChain | Mapping[str, Tensor] | nn.Module,
            classifier: Mapping[str, Tensor] | nn.Module | None = None, thresholds: Sequence[int] | None = None,
            labels: Sequence[str] | None = None, frontend: dict | None = None, mean=None, scale=None,
            card: dict | None = None, *, calibration: Any = None, targets: Any = None,
            fetch_reduction: float | None = None, max_loss: float | None = None, readout: str | None = None,
            clip: bool = False, refit: bool = True, source: str = "", warn: bool = True,
            stacklevel: int = 2) -> Conversion:
    """``from_torch`` with its report; also of a ``FloatChain``, as an importer reads it.

    ``source``: what was converted, for the report.  ``warn``: False keeps the warnings to the result.
    ``stacklevel``: whose line a warning names.
    """
    chain = network if isinstance(network, FloatChain) else chain_of(network, classifier)
    wanted = [name for name, value in (("thresholds", thresholds), ("fetch_reduction", fetch_reduction),
                                       ("max_loss", max_loss)) if value is not None]
    if len(wanted) > 1:
        raise ModelError(f"{' and '.join(wanted)} both say what Θ is; give one of them")
    if thresholds is not None and len(thresholds) != len(chain.layers) + 1:
        raise ModelError(f"{len(thresholds)} thresholds were given; the network needs {len(chain.layers) + 1}: one for "
                         "the features and one for each layer")
    if chain.spiking:
        if wanted:
            raise ModelError(f"a spiking network has thresholds of its own; leave {wanted[0]} out")
        made = converted_spikes(chain, labels, frontend, mean, scale, card, calibration, targets, readout, clip)
        _tell(made.warnings if warn else (), stacklevel)
        return made
    if calibration is None:
        if wanted not in ([], ["thresholds"]) or targets is not None:
            raise ModelError(f"{wanted[0] if wanted else 'targets'} cannot be used without calibration data; give "
                             "sequences such as the model will hear")
        model, scales = rounded_model(chain, thresholds, labels, frontend, mean, scale, card, clip)
        said = [s.warning for s in scales if s.warning]
        _tell(said if warn else (), stacklevel)
        return Conversion(model, None, tuple(said))
    pieces = all_frames(calibration, chain.features)
    said_by_source = chain.readout if targets is None or chain.readout != "frames" else None
    per_frame = targets is not None and len(targets) and np.ndim(targets[0])
    sequences = sequences_of(pieces, targets, chain.classes, readout or (None if per_frame else said_by_source))
    frames = np.concatenate(pieces)
    far = 0.0
    if mean is None and scale is None:
        mean, scale = normalisation(frames)
        far = float(np.abs(mean * scale).max())
        chain = chain.on_normalised(mean, scale)
    model, scales = rounded_model(chain, thresholds, labels, frontend, mean, scale, card, clip)
    if scales[0].of_bias and far > _FAR:
        scales[0] = replace(scales[0], warning=(
            f"{scales[0].warning}; the network heard features whose mean is up to {far:.2g} deviations away from 0, "
            "which its biases balance: train it on (features - mean) / deviation"))
    said = [s.warning for s in scales if s.warning] + _saturation(model, frames)
    mean, scale = (model.tensors[f"frontend.{what}"].astype(np.float64) for what in ("mean", "scale"))
    heard = (sequences.frames - mean) * scale
    signals, logits = chain.run(heard)
    signals, logits = [heard, *(x.numpy() for x in signals)], logits.numpy()
    trial, plain = Trial(model, sequences, logits), model
    chosen = "Θ as given" if thresholds is not None else "Θ = 0"
    if fetch_reduction is not None or max_loss is not None:
        search = ThetaSearch(trial, [float(x[sequences.valid].std()) for x in signals])
        if max_loss is None:
            assert fetch_reduction is not None
            point, chosen = search.for_reduction(fetch_reduction), f"Θ for a fetch reduction of {fetch_reduction:g}"
        else:
            kind = "agreement" if targets is None else "accuracy"
            point, chosen = search.for_loss(max_loss), f"Θ for a loss of at most {max_loss:g} points of {kind}"
        trial.model = model = model.with_thresholds(*point.thresholds)
        if refit and any(point.thresholds):
            more = sequences_of(pieces, targets, chain.classes, sequences.readout, _REFIT_FRAMES)
            said_by_float = chain.run((more.frames - mean) * scale)[1].numpy()
            changed = refitted(chain, Trial(model, more, said_by_float))
            other, own = rounded_model(changed, point.thresholds, labels, frontend, mean, scale, card, clip)
            tried = Trial(other, sequences, logits)
            if tried.point(point.thresholds).loss < point.loss:
                trial, model, scales, chosen = tried, other, own, f"{chosen}, classifier fitted to it"
    report = report_of(chain, trial, plain, signals, logits, scales, chosen, source or type(network).__name__, said)
    _tell(report.warnings if warn else (), stacklevel)
    return Conversion(replace(model, card=model.card | {"conversion": report.to_dict()}), report, report.warnings)


def report_of_tuned(tuned: Model, before: ConversionReport, network: FloatChain, calibration: Any,
                    targets: Any) -> ConversionReport:
    """The report of a fine-tuned model on the calibration data of its conversion, whose report is ``before``; beside
    the float network that was converted, which hears features as they are."""
    pieces, said = all_frames(calibration, network.features), tuned.card["finetuned"]
    sequences = sequences_of(pieces, targets, network.classes, before.readout)
    mean, scale = (tuned.tensors[f"frontend.{what}"] for what in ("mean", "scale"))
    chain, heard = network.on_normalised(mean, scale), (sequences.frames - mean.astype(np.float64)) * scale
    signals, logits = chain.run(heard)
    scales = [Scale(layer.weight_frac, 0.0, "") for layer in (*tuned.network.layers, tuned.network.classifier)]
    how = f"fine-tuned for {said['epochs']} epochs" if said["best"] else "no epoch of fine-tuning was better"
    return report_of(chain, Trial(tuned, sequences, logits.numpy()), tuned, [heard, *(x.numpy() for x in signals)],
                     logits.numpy(), scales, f"{before.chosen}, {how}", before.source, (), said["best"])


def _tell(lines: Sequence[str], stacklevel: int) -> None:
    for line in lines:
        warnings.warn(ConversionWarning(line), stacklevel=stacklevel + 1)


def _saturation(model: Model, frames: np.ndarray) -> list[str]:
    """A warning if too many of the calibration frames (n, features) saturate."""
    if (share := model.saturated(frames)) <= MOST_SATURATED:
        return []
    each = np.array([model.saturated(np.where(np.arange(frames.shape[1]) == i, frames, model.tensors["frontend.mean"]))
                     for i in range(frames.shape[1])])
    worst = [int(i) for i in np.argsort(-each, kind="stable")[:_NAMED] if each[i]]
    return [f"{share:.1%} of the calibration data lie beyond ±8 and saturate, most of feature "
            f"{', '.join(map(str, worst))}; normalise the features, or leave mean and scale out, so that they are "
            "computed from the calibration data"]
