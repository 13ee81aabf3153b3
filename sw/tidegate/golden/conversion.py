"""What a conversion did to a network: errors against float, saturation, occupancy, weight fetches, a table of Θ."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import log10

import numpy as np

from ..host.figures import ratio_text
from ..spec.formats import SIGNAL, acc_frac, whole_theta
from ..spec.model import Model
from .calibration import taken
from .chain import FloatChain
from .judge import Golden
from .rounding import Scale
from .thresholds import ThetaPoint, Trial

FACTORS = (0, 0.25, 0.5, 0.75, 1, 1.5, 2)     # on the chosen Θ, in the table
DEVIATIONS = (0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1)     # in place of these where Θ is 0: Θ of a signal by its deviation
MOST_SATURATED = 0.001     # share of values that may saturate without a word
_LEAST_ROUNDING_DB = 20.0   # SNR below which rounding is worth a word
_LEAST_AGREEMENT = 0.95
_FEW = 20                   # answers that say little


@dataclass(frozen=True)
class SignalFigures:
    """A signal beside the float network's; the last one of a report is the logits, which nothing encodes.

    ``threshold``: Θ in 1/256.  ``rounding_db``: SNR at Θ = 0, ``snr_db`` at the Θ of the model; None: no error.  Of a
    fine-tuned model what it has learned is an error, too. ``worst``: the element with the largest error at the model's
    Θ, ``worst_error`` that error, in units of 1. ``rounding_error``: the largest error at Θ = 0.  ``saturated``: share
    of the values at the end of the range. ``occupancy``; ``weights``: weights read for it per frame, of
    ``dense_weights``. ``weight_frac``, ``weights_lost``: of the layer that makes the signal, None for the features: the
    fraction bits of its weights, and what rounding took of their magnitude.
    """

    name: str
    size: int
    threshold: int | None
    rounding_db: float | None
    snr_db: float | None
    rounding_error: float
    worst: int
    worst_error: float
    saturated: float
    occupancy: float | None
    weights: float | None
    dense_weights: int | None
    weight_frac: int | None
    weights_lost: float | None


@dataclass(frozen=True)
class ConversionReport:
    """A conversion, on calibration data: ``sequences``, ``frames``, ``answers`` compared, read at ``readout``.

    ``given``: how many sequences there were; about ``calibration.MOST_FRAMES`` frames of these are looked at.
    ``chosen``: by what Θ was chosen.  ``epochs``: for which the model was fine-tuned.  ``point``: the model as it is.
    ``table``: (factor on Θ, what that makes); ``by_deviation``: Θ is 0, so the factors are on the standard deviation of
    each signal.  ``float_accuracy``: of the float network, if it is known what is right.  ``signals``: features,
    layers, logits. ``warnings``: one line each; ``notes``: what the importer left out or folded.
    """

    source: str
    chosen: str
    sequences: int
    frames: int
    answers: int
    readout: str
    float_accuracy: float | None
    point: ThetaPoint
    table: tuple[tuple[float, ThetaPoint], ...]
    signals: tuple[SignalFigures, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    given: int = 0
    epochs: int = 0
    by_deviation: bool = False

    @property
    def occupancy(self) -> tuple[float, ...]:
        """Share of the elements of each signal that are sent per frame."""
        return tuple(s.occupancy for s in self.signals if s.occupancy is not None)

    @property
    def logit_bound(self) -> float:
        """The largest error of a logit at Θ = 0 on the calibration data, in units of the logits; of a model that was
        not fine-tuned, what rounding alone makes."""
        return self.signals[-1].rounding_error

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        d = asdict(self)
        return d | {"table": [{"factor": factor, **asdict(point)} for factor, point in self.table],
                    "signals": [asdict(s) for s in self.signals], "warnings": list(self.warnings),
                    "notes": list(self.notes), "logit_bound": self.logit_bound,
                    "occupancy": list(self.occupancy)}

    def text(self) -> str:
        """The report for people, lines of at most 120 characters but for warnings and notes."""
        p, answers = self.point, {"frames": "every frame", "last": "the last frame", "mean": "the mean of all frames"}
        at_0 = "  at Θ=0" if self.epochs else "rounding"
        lines = [f"{self.source}: {self.chosen}",
                 f"compared with float on {taken(self.sequences, self.given, self.frames)}, {self.answers} answers, "
                 f"read in {answers[self.readout]}",
                 f"fetch reduction {ratio_text(p.fetch_reduction, 2)}, the same answer as float {p.agreement:.1%}"
                 + self._accuracies(), "",
                 f"signal      size      Θ  {at_0}  with Θ  worst element  saturated  occupancy   weights/frame  bits"]
        for s in self.signals:
            theta = "-" if s.threshold is None else f"{s.threshold}/256"
            worst = f"{s.worst_error:.3f} in {s.worst}"
            weights = "-" if s.weights is None else f"{s.weights:.0f} of {s.dense_weights}"
            share = "-" if s.occupancy is None else f"{s.occupancy:.1%}"
            bits = "-" if s.weight_frac is None else str(s.weight_frac)
            lines.append(f"{s.name:<10}{s.size:>6}{theta:>9}{_db(s.rounding_db):>8}{_db(s.snr_db):>8}{worst:>15}"
                         f"{s.saturated:>11.2%}{share:>11}{weights:>16}{bits:>6}")
        if self.epochs:
            lines.append("errors are against the network before fine-tuning: what was learned is an error here, too")
        lines.append("")
        if self.by_deviation:
            lines.append("Θ is 0. Multiples of the standard deviation of each signal would give:")
        lines.append("Θ factor  Θ in 1/256            fetch reduction  same answer  accuracy")
        for factor, point in self.table:
            accuracy = "-" if point.accuracy is None else f"{point.accuracy:.1%}"
            thetas = " ".join(map(str, point.thresholds))
            lines.append(f"{factor:>8g}  {thetas:<21} {ratio_text(point.fetch_reduction, 2):>15} "
                         f"{point.agreement:>12.1%} {accuracy:>9}")
        lines += [f"warning: {line}" for line in self.warnings] + [f"note: {line}" for line in self.notes]
        return "\n".join(lines)

    def _accuracies(self) -> str:
        if self.float_accuracy is None or self.point.accuracy is None:
            return ""
        return f", accuracy {self.point.accuracy:.1%} (float {self.float_accuracy:.1%})"


@dataclass(frozen=True)
class Conversion:
    """A model and how it was converted; ``report`` is None without calibration data, and for spiking networks.

    ``warnings``: one line each.  ``spikes``: of a spiking network with calibration data.
    """

    model: Model
    report: ConversionReport | None
    warnings: tuple[str, ...] = ()
    spikes: "SpikeReport | None" = None


@dataclass(frozen=True)
class SpikeReport:
    """A converted spiking network beside the float network, on ``frames`` of ``sequences``, of ``given``.

    ``names`` of what spikes; ``rates``, ``float_rates``: spikes per element and frame; ``differ``: share of the
    elements and frames in which one of both fires and the other does not.  ``occupancy``: of each signal of the model.
    ``agreement``: share of ``answers`` with the same best class, read at ``readout``; ``accuracy``,
    ``float_accuracy``: if it is known what is right.
    """

    sequences: int
    frames: int
    names: tuple[str, ...]
    rates: tuple[float, ...]
    float_rates: tuple[float, ...]
    differ: tuple[float, ...]
    answers: int
    readout: str
    agreement: float
    accuracy: float | None
    float_accuracy: float | None
    occupancy: tuple[float, ...] = ()
    given: int = 0

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return asdict(self) | {"occupancy": list(self.occupancy)}

    def text(self) -> str:
        """For people."""
        known = "" if self.accuracy is None else f", accuracy {self.accuracy:.1%} (float {self.float_accuracy:.1%})"
        lines = [f"compared with float on {taken(self.sequences, self.given, self.frames)}",
                 f"the same answer as float {self.agreement:.1%} of {self.answers}, read in {self.readout}{known}", "",
                 "signal     spikes/frame  of float   differ"]
        for name, rate, wanted, differ in zip(self.names, self.rates, self.float_rates, self.differ, strict=True):
            lines.append(f"{name:<11}{rate:>12.2%}{wanted:>10.2%}{differ:>9.2%}")
        return "\n".join(lines)


def report_of(chain: FloatChain, trial: Trial, plain: Model, float_signals: Sequence[np.ndarray],
              float_logits: np.ndarray, scales: Sequence[Scale], chosen: str, source: str,
              warnings: Sequence[str], epochs: int | None = None) -> ConversionReport:
    """The report of a model with the thresholds that it has.

    ``plain``: the network rounded, without any other change.  ``float_signals``: features and each layer's signal,
    (T, N, elements), as ``float_logits`` (T, N, classes) of the float network.  ``scales``: of the layers and the
    classifier.  ``warnings``: those of the conversion so far.  ``epochs``: after which fine-tuning ended, None
    without it.
    """
    network, sequences = trial.model.network, trial.sequences
    none = Golden(plain.with_thresholds(*(0,) * network.signals)).run(trial.frames, keep_anchors=True)
    own, logit_frac = trial.trace(network.thresholds, keep=True), acc_frac(plain.network.classifier.weight_frac)
    assert none.anchors is not None and own.anchors is not None
    figures, valid, lsb = trial.figures(own), sequences.valid, 2.0**-SIGNAL.frac
    frames = int(valid.sum())
    signals = []
    for s, (wanted, exact, got) in enumerate(zip((*float_signals, float_logits), (*none.anchors, none.logits),
                                                 (*own.anchors, own.logits), strict=True)):
        last = s == network.signals
        exact, got = (exact * 2.0**-logit_frac, trial.real(got)) if last else (exact * lsb, got * lsb)
        wanted, exact, got = wanted[valid], exact[valid], got[valid]
        worst = int(np.abs(got - wanted).max(0).argmax())
        most = np.inf if last else network.max_anchor(s) * lsb
        bounded = s and not last and most < 1        # tanh and h end there by themselves
        scale = scales[s - 1] if s else None
        signals.append(SignalFigures(
            "logits" if last else f"layer {s - 1}" if s else "features", got.shape[1],
            None if last else network.thresholds[s], _snr(wanted, exact), _snr(wanted, got),
            float(np.abs(exact - wanted).max()), worst, float(np.abs(got - wanted)[:, worst].max()),
            0.0 if bounded else float((np.abs(exact) >= most).mean()),
            None if last else figures.occupancy[s],
            None if last else figures.events[s] * network.column_weights(s) / frames,
            None if last else int(network.fan_out(s).sum()),
            scale and scale.weight_frac, None if epochs is not None else scale and scale.lost))
    point, right = trial.point(network.thresholds), trial.right
    none_chosen = not any(network.thresholds)
    spread = [float(x[valid].std()) for x in float_signals]
    table = {}
    for f in DEVIATIONS if none_chosen else FACTORS:
        tried = [whole_theta(f * s / lsb) for s in spread] if none_chosen else trial.model.turned(f).network.thresholds
        table.setdefault(tuple(tried), f)           # small Θ times a factor may be the same Θ
    report = ConversionReport(
        source, chosen, sequences.frames.shape[1], frames, len(trial.expected), sequences.readout,
        trial.float_accuracy, point, tuple((f, trial.point(thetas)) for thetas, f in table.items()), tuple(signals),
        notes=chain.notes, given=sequences.given, epochs=epochs or 0, by_deviation=none_chosen)
    few = len(trial.expected) if sequences.readout == "frames" and right is None else sequences.frames.shape[1]
    return replace(report, warnings=(*warnings, *_warnings(report, chain, few)))


def _warnings(report: ConversionReport, chain: FloatChain, answers: int) -> list[str]:
    """What costs accuracy, why, and what to do."""
    lines = []
    for s, layer in zip(report.signals[1:], chain.layers, strict=False):
        if s.saturated > MOST_SATURATED:
            lines.append(f"{s.name} ({layer.activation}) is beyond ±8 in {s.saturated:.1%} of its values and "
                         "saturates; train with weight decay, or use tanh")
    for s in report.signals:
        if not report.epochs and s.rounding_db is not None and s.rounding_db < _LEAST_ROUNDING_DB:
            lines.append(f"rounding alone leaves {s.name} only {s.rounding_db:.0f} dB above its error; see the "
                         "warnings about saturation and coarse weights, and train with weight decay or fine-tune")
    wrong = report.point.accuracy is None or report.float_accuracy is None or (
        report.point.accuracy < report.float_accuracy)
    if report.point.agreement < _LEAST_AGREEMENT and any(report.point.thresholds) and (wrong or not report.epochs):
        lines.append(f"{1 - report.point.agreement:.1%} of the answers differ from the float network's at this Θ; ask "
                     "for a smaller fetch reduction, or fine-tune " + (
                         "for more epochs or on more sequences" if report.epochs else "with tidegate.finetune"))
    if answers < _FEW:
        lines.append(f"{answers} answers say little about accuracy; calibrate with more sequences")
    return lines


def _snr(wanted: np.ndarray, got: np.ndarray) -> float | None:
    """Signal to error in dB, None without error."""
    error = float(((got - wanted) ** 2).sum())
    return None if not error else 10 * log10(max(float((wanted**2).sum()), 1e-300) / error)


def _db(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f} dB"
