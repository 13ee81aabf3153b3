"""A model beside the float network that it was made of, on the same frames: how far apart, from where on, and why."""

from dataclasses import asdict, dataclass, replace
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..spec.errors import ModelError, TidegateError
from ..spec.model import Model
from .arithmetic import INTEGER
from .calibration import CalibrationBatch, all_frames, sequences_of, taken
from .causes import Cause, Diagnosis
from .chain import FloatChain
from .departure import Departure, first_departure, rounding_bounds, title_of
from .judge import Golden
from .state_dict import chain_of
from .stepwise import Seen, Site, Switches, chain_of_model, check_same_shape, real_of, stepwise

if TYPE_CHECKING:
    from collections.abc import Mapping

_FAULTS = ("scale", "bias", "weights differ")
_NORMALISED = ("or say so (--normalised, normalised=True) if the network hears features as the model's front end "
               "normalises them")


@dataclass(frozen=True)
class SiteFigures:
    """A value of the model beside that of the float network, over all frames and elements.

    ``snr_db``: None without error.  ``worst_error``: the largest, in ``element`` and ``frame`` of ``sequence``.
    ``bound``: the largest of its elements' bounds.  ``beyond``: share of the values that are beyond theirs.
    """

    name: str
    snr_db: float | None
    worst_error: float
    element: int
    frame: int
    sequence: int
    bound: float
    beyond: float


@dataclass(frozen=True)
class ExplainedDeparture:
    """The first place beyond its bound, ``name`` of the site, and why: the first of ``causes`` matters most."""

    name: str
    at: Departure
    causes: tuple[Cause, ...]

    def to_dict(self) -> dict:
        at = asdict(self.at)
        return {"place": self.name, "layer": self.at.site.layer, **{k: v for k, v in at.items() if k != "site"},
                "value": self.at.site.name, "error": self.at.error, "causes": [asdict(c) for c in self.causes]}

    def text(self) -> list[str]:
        a = self.at
        more = f" (and {a.others} more)" if a.others > 0 else ""
        lines = [f"first beyond its bound: {self.name}, element {a.element}{more}, in frame {a.frame} of sequence "
                 f"{a.sequence}: {a.got:.4g} in place of {a.wanted:.4g}, error {a.error:.4g}, bound {a.bound:.4g}"]
        for number, cause in enumerate(self.causes):
            healed = "which is within the bound" if cause.remaining <= a.bound else "still beyond the bound"
            lines += [f"{'and' if number else 'why'}: {cause.why}; without that the error is {cause.remaining:.4g}, "
                      f"{healed}", f"what to do: {cause.cure}"]
        return lines


@dataclass(frozen=True)
class FloatComparison:
    """What ``compare_float`` found.

    ``thresholds``: Θ in 1/256.  ``given``: how many sequences there were, of which ``sequences`` were compared; the
    numbers of sequences and frames are those of the data that were given.  ``answers``: how many were compared, read at
    ``readout``; ``agreement``: share of them with the same best class; ``accuracy``, ``float_accuracy``: if it is known
    what is right; all None for a single logit and for a model that tells numbers.  ``normalised``: the float network
    hears features as the model normalises them.  ``values``: in the order of computation.  ``first``: None if all are
    within their bounds.  ``first_without_theta``: the same at Θ = 0, if the model has a Θ.
    """

    thresholds: tuple[int, ...]
    sequences: int
    frames: int
    answers: int
    readout: str
    agreement: float | None
    accuracy: float | None
    float_accuracy: float | None
    normalised: bool
    values: tuple[SiteFigures, ...]
    first: ExplainedDeparture | None
    first_without_theta: ExplainedDeparture | None
    given: int = 0

    @property
    def within(self) -> bool:
        """Whether nothing is beyond its bound."""
        return self.first is None

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return vars(self) | {
            "thresholds": list(self.thresholds), "within": self.within, "values": [asdict(v) for v in self.values],
            "first": self.first and self.first.to_dict(),
            "first_without_theta": self.first_without_theta and self.first_without_theta.to_dict()}

    def text(self) -> str:
        """For people."""
        read = {"frames": "every frame", "last": "the last frame", "mean": "the mean of all frames"}[self.readout]
        lines = [f"{taken(self.sequences, self.given, self.frames)}, Θ {', '.join(map(str, self.thresholds))}"]
        if self.agreement is not None:
            known = "" if self.accuracy is None else f", accuracy {self.accuracy:.1%} (float {self.float_accuracy:.1%})"
            lines.append(f"the same answer as float in {self.agreement:.1%} of {self.answers} answers, read in {read}"
                         + known)
        lines += ["", f"{'value':<32}{'SNR':>9}{'worst error':>13}{'element':>9}{'frame':>7}{'bound':>9}{'beyond':>9}"]
        for v in self.values:
            snr = "exact" if v.snr_db is None else f"{v.snr_db:.1f} dB"
            lines.append(f"{v.name:<32}{snr:>9}{v.worst_error:>13.4f}{v.element:>9}{v.frame:>7}{v.bound:>9.4f}"
                         f"{v.beyond:>9.2%}")
        lines.append("")
        if self.first is None:
            return "\n".join([*lines, "every value is within its bound"])
        lines += self.first.text()
        if any(self.thresholds) and any(c.kind == "Θ" for c in self.first.causes):
            lines.append("at Θ = 0 " + ("every value is within its bound" if self.first_without_theta is None else
                                        self.first_without_theta.text()[0]))
            lines += self.first_without_theta.text()[1:] if self.first_without_theta else []
        return "\n".join(lines)


def compare_float(model: Model, network: "FloatChain | nn.Module | Mapping[str, Tensor] | str | Path", data: Any, *,
                  targets: Any = None, bound: float | None = None, readout: str | None = None,
                  normalised: bool = False) -> FloatComparison:
    """Run a model and the float network that it was made of side by side, and find where they first depart, and why.

    ``network``: what ``from_torch`` takes as one module, or a file that ``tidegate import`` reads, or a ``FloatChain``.
    ``data``: features such as the network hears, (frames, features) or (sequences, frames, features), or a list of
    sequences of any length; about 10,000 frames of them are taken, evenly.  ``targets``, ``readout``: as of
    ``from_torch``.

    ``bound``: the largest difference that any value may have, in its own units; default: four times what rounding alone
    makes of each value in these frames (``departure.py``).  ``normalised``: the network hears (feature - mean) · scale
    of the model's front end; else it hears features as they are, as after ``tidegate import``.

    ModelError if the model was not made of a network of this shape, and for data that do not fit.
    """
    if bound is not None and not bound > 0:
        raise TidegateError(f"a bound is a number above 0, not {bound:g}")
    mine, theirs = chain_of_model(model), _chain(network)
    check_same_shape(model, theirs)
    pieces = all_frames(data, theirs.features)
    said = theirs.readout or (model.card.get("conversion") or {}).get("readout")
    if targets is not None and (said == "frames" or (len(targets) and np.ndim(targets[0]))):
        said = None         # the targets say it
    batch = sequences_of(pieces, targets, theirs.classes, readout or said)
    mean, scale = (model.tensors[f"frontend.{what}"].astype(np.float64) for what in ("mean", "scale"))
    changed = theirs.on_normalised(mean, scale)
    heard = torch.from_numpy((batch.frames - mean) * scale)
    side = _Sides(model, mine, theirs if normalised else changed, batch, heard, bound)
    side.other_way = not normalised and _distance(mine, theirs) < _distance(mine, changed)
    first = side.departure(model.network.thresholds)
    without = side.departure((0,) * model.network.signals) if any(model.network.thresholds) else first
    return side.report(model, normalised, first, without)


class _Sides:
    """Both networks on frames (T, N, features), normalised."""

    def __init__(self, model: Model, mine: FloatChain, theirs: FloatChain, batch: CalibrationBatch, frames: Tensor,
                 bound: float | None):
        net = model.network
        self.mine, self.theirs, self.batch, self.frames = mine, theirs, batch, frames
        self.layers = (*net.layers, net.classifier)
        self.valid = torch.from_numpy(batch.valid)
        self.wanted = real_of(theirs, frames)
        self.bounds: dict[Site, Tensor] = (
            rounding_bounds(theirs, frames, self.wanted, self.valid, [layer.weight_bits for layer in self.layers])
            if bound is None else {site: torch.tensor(float(bound)) for site in self.wanted})
        self.runs: dict[tuple[int, ...], Seen] = {}
        self.other_way = False          # the network seems to hear normalised features
        ints = Golden(model).run(model.quantise(batch.frames))
        self.logits = ints.logits * 2.0**-Golden(model).logit_frac
        got = self.run(net.thresholds)[Site(len(net.layers), "logits")]
        # what is diagnosed must be what a board computes
        assert np.array_equal(got[self.valid].numpy(), self.logits[batch.valid]), "stepwise.py differs from golden"

    def run(self, thresholds: tuple[int, ...]) -> Seen:
        """The model's values at these Θ."""
        if thresholds not in self.runs:
            self.runs[thresholds] = stepwise(self.mine, self.frames, Switches.all(self.mine, INTEGER, thresholds))
        return self.runs[thresholds]

    def departure(self, thresholds: tuple[int, ...]) -> ExplainedDeparture | None:
        at = first_departure(self.run(thresholds), self.wanted, self.valid, self.bounds)
        if at is None:
            return None
        here = slice(at.sequence, at.sequence + 1)
        wanted = {site: value[: at.frame + 1, here] for site, value in self.wanted.items()}
        diagnosis = Diagnosis(self.mine, self.theirs, self.layers, self.frames[: at.frame + 1, here],
                              Switches.all(self.mine, INTEGER, thresholds), wanted, at, self.bounds[at.site])
        causes = diagnosis.causes()
        if self.other_way:
            causes = [replace(c, cure=f"{c.cure}; {_NORMALISED}") if not c.layer and c.kind in _FAULTS else c
                      for c in causes]
        number, frame = self.batch.place(at.sequence, at.frame)
        return ExplainedDeparture(title_of(at.site, len(self.mine.layers)), replace(at, sequence=number, frame=frame),
                                  tuple(causes))

    def report(self, model: Model, normalised: bool, first: ExplainedDeparture | None,
               without: ExplainedDeparture | None) -> FloatComparison:
        batch, net = self.batch, model.network
        wanted = batch.answers(self.wanted[Site(len(net.layers), "logits")].numpy())
        got, right = batch.answers(self.logits), batch.right
        classes = net.classes > 1 and model.readout is None
        agreement = float((got.argmax(1) == wanted.argmax(1)).mean()) if classes else None
        accuracy, of_float = (None if right is None or not classes else float((x.argmax(1) == right).mean())
                              for x in (got, wanted))
        return FloatComparison(
            net.thresholds, batch.frames.shape[1], int(batch.valid.sum()), len(wanted), batch.readout, agreement,
            accuracy, of_float, normalised, tuple(self._figures(net.thresholds)), first, without,
            batch.given)

    def _figures(self, thresholds: tuple[int, ...]) -> list[SiteFigures]:
        rows, got = [], self.run(thresholds)
        for site, value in got.items():
            if site == Site(-1, "value") and not thresholds[0]:
                continue        # then what is sent is the same
            error = (value - self.wanted[site]).abs() * self.valid[..., None]
            sequences, elements = error.shape[1:]
            frame, rest = divmod(int(error.argmax()), sequences * elements)
            sequence, element = divmod(rest, elements)
            sequence, frame = self.batch.place(sequence, frame)
            power, noise = (float((x[self.valid] ** 2).sum()) for x in (self.wanted[site], error))
            rows.append(SiteFigures(
                title_of(site, len(self.mine.layers)), None if not noise else 10 * log10(max(power, 1e-300) / noise),
                float(error.max()), element, frame, sequence, float(self.bounds[site].max()),
                float((error > self.bounds[site])[self.valid].double().mean())))
        return rows


def _chain(network: Any) -> FloatChain:
    if isinstance(network, FloatChain):
        return network
    if isinstance(network, str | Path):
        from ..importers.registry import read_network

        return read_network(network)
    if not isinstance(network, nn.Module):
        raise ModelError("the float network is a module of PyTorch, a file that is imported, or a FloatChain, not a "
                         f"{type(network).__name__}; give one of these")
    return chain_of(network)


def _distance(mine: FloatChain, theirs: FloatChain) -> float:
    """Between the weights of the first layer."""
    return float((mine.layers[0].w_ih - theirs.layers[0].w_ih).norm())


