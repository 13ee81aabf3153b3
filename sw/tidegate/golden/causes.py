"""Why a model departs from its float network: the same frames once more, each time with one thing taken away.

What is taken away, alone: Θ of a signal; saturation, the rounding of numbers, or the difference of the weights, of a
layer; all that the layer hears.  Of what leaves an error within the bound at that place, the cause is what leaves the
fewest elements of the same value and frame beyond their bounds, and then the smallest error.  If nothing does, what
leaves the smallest error stays away, and the next cause is found.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..spec.formats import BIAS_MAX, CELL_STATE, PRE, SIGNAL, WEIGHT_BITS, acc_frac, weight_max
from ..spec.layer import Layer
from .arithmetic import ROUNDINGS
from .chain import FloatChain
from .departure import Departure
from .rounding import usual_frac
from .stepwise import SENT, Seen, Site, Switches, stepwise

_MOST_CAUSES = 3
_OFF_SCALE = 1.15       # factor between weights that is more than rounding
_ALIKE = 0.98           # correlation above which weights differ by a factor alone
_ROUNDED = {
    "sum": "the sums are rounded on their way into a function",
    "function": "σ and tanh have steps of 1/256 and end at 255/256",
    "state": "the state is rounded",
    "signal": "the signal is rounded to 1/256",
}


@dataclass(frozen=True)
class Cause:
    """``kind``: "Θ", "input saturated", "saturated", "weight saturated", "scale", "coarse weights", "bias", "weights
    differ", "rounding" or "inherited"; ``layer``: in which, -1 for the features; ``why``, ``cure``: a sentence each;
    ``remaining``: the error at the place without it (and without the causes before it)."""

    kind: str
    layer: int
    why: str
    cure: str
    remaining: float


@dataclass(frozen=True)
class _Trial:
    """A thing that is taken away, and the run without it; ``several``: more than one, no cause if one of them is."""

    kind: str
    layer: int
    chain: FloatChain
    switches: Switches
    signal: int = -1
    several: bool = False


class Diagnosis:
    """Finds the causes of one departure.

    ``mine``: the model's weights, ``theirs``: those of the float network; ``layers``: those of the model, and its
    classifier; ``frames`` (T, 1, features) of the sequence, normalised, up to the frame of the departure; ``switches``:
    those of the model; ``bounds`` (elements,) at its place.
    """

    def __init__(self, mine: FloatChain, theirs: FloatChain, layers: tuple[Layer, ...], frames: Tensor,
                 switches: Switches, wanted: Seen, at: Departure, bounds: Tensor):
        self.mine, self.theirs, self.layers, self.frames = mine, theirs, layers, frames
        self.switches, self.wanted, self.at, self.bounds = switches, wanted, at, bounds

    def causes(self) -> list[Cause]:
        """The first one matters most; more than one if it takes them together to be within the bound."""
        chain, switches, found = self.mine, self.switches, []
        while len(found) < _MOST_CAUSES:
            trials = [(*self._left(t.chain, t.switches), t) for t in self._trials(chain, switches)]
            healing = [trial for trial in trials if trial[0] <= self.at.bound]
            if single := [trial for trial in healing if not trial[2].several]:
                healing = single
            # a value that was just short of Θ is mended by any small change, but its neighbours are not
            error, _, best = min(healing, key=lambda trial: (trial[1], trial[0])) if healing else min(
                trials, key=lambda trial: trial[0])
            found.append(self._told(best, error, chain, switches))
            chain, switches = best.chain, best.switches
            if error <= self.at.bound:
                break
        return found

    def _error(self, chain: FloatChain, switches: Switches) -> float:
        """Of a run, at the place of the departure."""
        return self._left(chain, switches)[0]

    def _left(self, chain: FloatChain, switches: Switches) -> tuple[float, int]:
        """(the error of a run at the place of the departure, how many elements are beyond their bounds there)."""
        at = self.at
        value = stepwise(chain, self.frames, switches)[at.site]
        error = (value[at.frame, 0] - self.wanted[at.site][at.frame, 0]).abs()
        return float(error[at.element]), int((error > self.bounds).sum())

    def _trials(self, chain: FloatChain, switches: Switches) -> Iterator[_Trial]:
        last, thetas = self.at.site.layer, switches.thresholds
        # a layer's own Θ reaches its gates a frame later
        signals = [s for s in range(min(last + 2, len(thetas))) if thetas[s] > 1]
        for s in signals:
            yield _Trial("Θ", s - 1, chain, replace(switches, thresholds=(*thetas[:s], 0, *thetas[s + 1 :])), s)
        if len(signals) > 1:
            yield _Trial("Θ", last, chain, replace(switches, thresholds=(0,) * len(thetas)), several=True)
        for l in range(-1, last + 1):
            number = switches.at(l)
            if number.saturates:
                yield _Trial("saturated", l, chain, switches.having(l, replace(number, saturates=False)))
            if number.rounds:
                yield _Trial("rounding", l, chain, switches.having(l, number.without(*ROUNDINGS)))
            if l >= 0 and not _equal(chain, self.theirs, l):
                yield _Trial("weights", l, _with_parts(chain, l, _parts(self.theirs, l)), switches)
        if last > 0 and last not in switches.heard:
            signal = self.wanted[Site(last - 1, SENT)]
            yield _Trial("inherited", last - 1, chain, replace(switches, heard={**switches.heard, last: signal}),
                         several=True)

    # -- what is said of a cause

    def _told(self, t: _Trial, error: float, chain: FloatChain, switches: Switches) -> Cause:
        if t.kind == "Θ":
            theta = switches.thresholds[t.signal]
            what = "the features" if t.signal == 0 else f"layer {t.signal - 1}"
            why = "all Θ together hold back what has changed by less" if t.signal < 0 else (
                f"Θ of {what}, {theta}/256 = {theta / 256:.3g}, holds back what has changed by less")
            cause = Cause("Θ", t.layer, why, "import it with a smaller Θ or fetch reduction, or fine-tune it with Θ in "
                          "force", error)
        elif t.kind == "saturated":
            cause = self._of_saturation(t, error)
        elif t.kind == "rounding":
            cause = self._of_rounding(t, error, chain, switches)
        elif t.kind == "weights":
            cause = _WeightFault(self, t.layer, chain, switches).cause(error)
        else:
            why = f"many small errors of layer {t.layer}, each within its bound, add up here"
            cause = Cause("inherited", t.layer, why, "see the SNR of the layers before, and train with weight decay",
                          error)
        below = t.layer < self.at.site.layer and self.at.site.layer > 0 and t.kind not in ("Θ", "inherited")
        where = "from the features" if t.layer < 0 else f"from layer {t.layer}"
        return replace(cause, why=f"inherited {where}: {cause.why}") if below else cause

    def _of_saturation(self, t: _Trial, error: float) -> Cause:
        seen = stepwise(t.chain, self.frames, t.switches)
        if t.layer < 0:
            values = seen[Site(-1, "value")][:, 0].abs()
            element = int(values.argmax()) % values.shape[1]
            why = f"the input saturates at ±8: feature {element}, normalised, is {float(values.max()):.3g}"
            return Cause("input saturated", -1, why, "normalise the features, or import the network with calibration "
                         "data that reach as far", error)
        formats = {"c": ("the state c", CELL_STATE), "nx": ("the sum of the input", PRE),
                   "nh": ("the sum of the own state", PRE), "v": ("the layer's sum", SIGNAL)}
        beyond = []
        for name, (what, q) in formats.items():
            if (value := seen.get(Site(t.layer, name))) is not None:
                most = q.max * 2.0**-q.frac
                beyond.append((float(value.abs().max()) / most, what, float(value.abs().max()), most))
        _, what, reached, most = max(beyond)
        why = f"{what} saturates: it would reach ±{reached:.3g}, and its format ends at ±{most:.4g}"
        return Cause("saturated", t.layer, why, "train with weight decay, or use tanh in place of ReLU", error)

    def _of_rounding(self, t: _Trial, error: float, chain: FloatChain, switches: Switches) -> Cause:
        number = switches.at(t.layer)
        least, what = min((self._error(chain, switches.having(t.layer, number.without(what))), what)
                          for what in sorted(number.rounds))
        why = _ROUNDED[what] if least <= max(2 * error, self.at.bound) else "all roundings of the layer add up"
        why = "features are rounded to 1/256" if t.layer < 0 else f"rounding: {why}"
        return Cause("rounding", t.layer, why, "no other format is to be had; fine-tune the model, or train shorter "
                     "memories", error)


class _WeightFault:
    """Which weights of a layer (or of the classifier) make the difference, and what is wrong with them."""

    def __init__(self, of: Diagnosis, layer: int, chain: FloatChain, switches: Switches):
        self.of, self.layer, self.chain, self.switches = of, layer, chain, switches
        self.mine, self.theirs = _parts(chain, layer), _parts(of.theirs, layer)
        self.shape = of.layers[layer]
        self.lsb = 2.0**-self.shape.weight_frac
        most = weight_max(self.shape.weight_bits) * self.lsb
        self.saturated = {name: (self.mine[name].abs() >= most) & (w.abs() > self.mine[name].abs() + self.lsb / 2)
                          for name, w in self.theirs.items() if name != "bias"}
        self.name = "the classifier" if layer == len(of.theirs.layers) else f"layer {layer}"

    def cause(self, error: float) -> Cause:
        """``error``: with all weights of the layer as in the float network."""
        found = [(self._error_with(parts), kind) for kind, parts in self._groups()]
        healed = [pair for pair in found if pair[0] <= self.of.at.bound]
        least, kind = healed[0] if healed else min(found)
        why, cure = getattr(self, f"_{kind.replace(' ', '_')}")()
        return Cause(kind, self.layer, why, cure, min(least, error) if not healed else least)

    def _error_with(self, parts: dict[str, Tensor]) -> float:
        return self.of._error(_with_parts(self.chain, self.layer, parts), self.switches)

    def _groups(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """(kind, the layer's weights with only these put right), the most particular first."""
        if any(bool(at.any()) for at in self.saturated.values()):
            parts = {name: torch.where(self.saturated[name], self.theirs[name], w) if name in self.saturated else w
                     for name, w in self.mine.items()}
            yield "weight saturated", parts
            yield "weight saturated", parts | {"bias": self.theirs["bias"]}     # a mean may be folded into them
        if factors := self._scales():
            yield "scale", {name: w / factors.get(name, 1.0) if name != "bias" else self.theirs["bias"]
                            for name, w in self.mine.items()}
        elif any(factor != 1 for factor in self._features()):
            yield "scale", self.mine | {"w_ih": self.mine["w_ih"] / torch.tensor(self._features()).double(),
                                        "bias": self.theirs["bias"]}
        off = {name: (w - self.mine[name]).abs() > 0.51 * self.lsb for name, w in self.theirs.items() if name != "bias"}
        if any(bool(at.any()) for at in off.values()):
            yield "weights differ", {name: torch.where(off[name], self.theirs[name], w) if name in off else
                                     self.theirs[name] for name, w in self.mine.items()}
        elif float((self.theirs["bias"] - self.mine["bias"]).abs().max()) > self.lsb:
            yield "bias", self.mine | {"bias": self.theirs["bias"]}
        yield "coarse weights", dict(self.theirs)

    def _scales(self) -> dict[str, float]:
        """The factor between the model's weights and the network's, of those tensors where there is one."""
        found = {name: _factor(self.mine[name].flatten(), self.theirs[name].flatten()) for name in self.saturated}
        return {name: factor for name, factor in found.items() if factor != 1}

    def _features(self) -> list[float]:
        """The factors of the columns of the first layer's weights, in which the scales of features are folded."""
        if self.layer:
            return []
        return [_factor(a, b) for a, b in zip(self.mine["w_ih"].T, self.theirs["w_ih"].T, strict=True)]

    def _scale(self) -> tuple[str, str]:
        factors = self._scales()
        if not factors:
            off = {column: factor for column, factor in enumerate(self._features()) if factor != 1}
            column, factor = next(iter(off.items()))
            more = f" (and {len(off) - 1} more)" if len(off) > 1 else ""
            return (f"the scale of feature {column}{more} is wrong: its weights in layer 0 are {factor:.3g} times "
                    "those of the float network", "check mean and scale of the model's front end, or import the "
                    "network again")
        name, factor = next(iter(factors.items()))
        what = "all weights" if len(factors) == len(self.saturated) else "its weights from " + (
            "its input" if name == "w_ih" else "itself")
        cure = f"check weight_frac, which is {self.shape.weight_frac}"
        if self.layer == 0 and "w_ih" in factors:
            cure += ", and the scale of the model's front end"
        return (f"the scale of {self.name} is wrong: {what} are {factor:.3g} times those of the float network",
                f"{cure}, or import the network again")

    def _weight_saturated(self) -> tuple[str, str]:
        count = sum(int(at.sum()) for at in self.saturated.values())
        where, mine, theirs = self._worst(self.saturated)
        more = f" and {count - 1} more" if count > 1 else ""
        end = weight_max(self.shape.weight_bits) * self.lsb
        return (f"a weight of {self.name} is saturated: {where} is {theirs:.4g} and the model holds {mine:.4g}{more}; "
                f"with {self.shape.weight_frac} fraction bits weights end at ±{end:.3g}",
                "import the network without --clip, or train with weight decay")

    def _weights_differ(self) -> tuple[str, str]:
        where, mine, theirs = self._worst({name: torch.ones_like(w, dtype=torch.bool) for name, w in self.theirs.items()
                                           if name != "bias"})
        return (f"{self.name} has other weights than the float network, such as {where}: {mine:.4g} in place of "
                f"{theirs:.4g}, which is no rounding", "give the network that the model was made of, or import it "
                "again; a fine-tuned model departs from its float network")

    def _bias(self) -> tuple[str, str]:
        difference = (self.theirs["bias"] - self.mine["bias"]).abs().reshape(-1, self.shape.size)
        neuron = self.of.at.element if self.layer == self.of.at.site.layer else None
        column = difference.max(0).values if neuron is None else None
        neuron = int(column.argmax()) if column is not None else neuron
        gate = int(difference[:, neuron].argmax())
        mine, theirs = (float(parts["bias"].reshape(-1, self.shape.size)[gate, neuron])
                        for parts in (self.mine, self.theirs))
        cell = None if self.name == "the classifier" else self.of.theirs.layers[self.layer].cell
        what = f"class {neuron}" if cell is None else f"gate {cell.gates[gate].name} of neuron {neuron}"
        cure = "import the network again" + (", and check the mean of the model's front end" if not self.layer else "")
        return f"the bias of {self.name} differs: that of {what} is {mine:.4g} in place of {theirs:.4g}", cure

    def _coarse_weights(self) -> tuple[str, str]:
        weights = torch.cat([self.theirs[name].flatten() for name in self.saturated])
        usual = usual_frac(weights, weight_max(self.shape.weight_bits))
        frac, most = self.shape.weight_frac, weight_max(self.shape.weight_bits)
        why = f"the weights of {self.name} are coarse: they have {frac} fraction bits"
        if usual <= frac:
            return why, "fine-tune the model" if self.shape.weight_bits == WEIGHT_BITS else (
                f"give the layer {WEIGHT_BITS} bits in place of {self.shape.weight_bits}")
        largest, bias = float(weights.abs().max()), float(self.theirs["bias"].abs().max())
        if largest * 2.0 ** (frac + 1) >= most + 0.5:
            reason, cure = f"the largest is {largest:.3g}", "import the network with --clip, or train with weight decay"
        elif bias * 2.0 ** acc_frac(frac + 1) > BIAS_MAX:
            reason, cure = f"the biases reach {bias:.3g}, which takes the bits", "train with smaller biases"
        else:
            reason, cure = "finer sums could overflow an accumulator", "use fewer inputs, or train with weight decay"
        return f"{why}, nearly all would fit in {usual}, but {reason}", cure

    def _worst(self, among: dict[str, Tensor]) -> tuple[str, float, float]:
        """(where, the model's weight, the network's) of the weight that is furthest off, if possible of the neuron."""
        at, size = self.of.at, self.shape.size
        best: tuple[bool, float, str, int, int] | None = None
        for name, mask in among.items():
            off = (self.theirs[name] - self.mine[name]).abs() * mask
            own = torch.zeros(len(off), dtype=torch.bool)
            if self.layer == at.site.layer:
                own[at.element % size :: size] = True
            for here in (True, False):
                part = off * (own == here)[:, None]
                row, column = divmod(int(part.argmax()), part.shape[1])
                found = (here, float(part.max()), name, row, column)
                if found[1] > 0 and (best is None or found > best):
                    best = found
        assert best is not None
        _, _, name, row, column = best
        mine, theirs = float(self.mine[name][row, column]), float(self.theirs[name][row, column])
        if self.name == "the classifier":
            return f"that of class {row} from neuron {column}", mine, theirs
        cell = self.of.theirs.layers[self.layer].cell
        block, neuron = divmod(row, size)
        gates = [g.name for g in cell.gates if (g.input_row if name == "w_ih" else g.own_row) == block]
        source = f"input {column}" if name == "w_ih" else f"neuron {column}"
        return f"that of gate {gates[0]} of neuron {neuron} from {source}", mine, theirs


def _factor(mine: Tensor, theirs: Tensor) -> float:
    """The factor between two vectors that differ by no more than that and rounding, if it is worth a word; else 1."""
    product, norms = float(mine @ theirs), (float(mine.norm()), float(theirs.norm()))
    if not all(norms) or product / (norms[0] * norms[1]) < _ALIKE:
        return 1.0
    factor = product / norms[1] ** 2
    return 1.0 if 1 / _OFF_SCALE < factor < _OFF_SCALE else factor


def _parts(chain: FloatChain, layer: int) -> dict[str, Tensor]:
    """The weights and biases of a layer, or of the classifier behind the last."""
    if layer == len(chain.layers):
        return {"w_ih": chain.weight, "bias": chain.bias}
    held = chain.layers[layer]
    own = {} if held.w_hh is None else {"w_hh": held.w_hh}
    return {"w_ih": held.w_ih, **own, "bias": held.bias}


def _with_parts(chain: FloatChain, layer: int, parts: dict[str, Tensor]) -> FloatChain:
    if layer == len(chain.layers):
        return replace(chain, weight=parts["w_ih"], bias=parts["bias"])
    layers = list(chain.layers)
    layers[layer] = replace(layers[layer], **parts)
    return replace(chain, layers=tuple(layers))


def _equal(a: FloatChain, b: FloatChain, layer: int) -> bool:
    one, other = _parts(a, layer), _parts(b, layer)
    return all(torch.equal(one[name], other[name]) for name in one)
