"""Where a model lies in the memories of a design: packing for P lanes and the register values.

Accumulators are kept per layer as ``[nx | r | z | nh]``, each part padded to whole words of P.  Layers follow
each other and the classifier comes last, so the rows that a hidden signal feeds, its own ``[r | z | nh]``
and the next layer's ``[nx | r | z]`` (or the logits), are one contiguous run; so are those of the features.
A column of the weight memory is that run, and the bias columns run over all accumulators.
"""

from dataclasses import dataclass

import numpy as np

from .design import Design
from .errors import CapacityError
from .formats import BIAS_DELTAS, bias_digits
from .model import Model
from .network import Network


@dataclass(frozen=True)
class Column:
    """Columns of one signal: weight-memory word of element 0, words per column, first accumulator word."""

    base: int
    length: int
    target: int


@dataclass(frozen=True)
class Need:
    """What a model needs of one of a design's capacities, and what there is."""

    what: str
    need: int
    have: int

    @property
    def fits(self) -> bool:
        return self.need <= self.have

    def __str__(self):
        less = f" ({self.need - self.have} too few)" if not self.fits else ""
        return f"{self.need} {self.what}, the board has {self.have}{less}"


class Layout:
    """Addresses of a network in a design; raises CapacityError if it does not fit (unless ``check`` is False).

    ``words[l]``: accumulator words of one gate of GRU layer l.  ``layer_target[l]``: its first accumulator
    word.  ``logit_target``, ``logit_words``: the classifier's.  ``columns[s]``: the columns of signal s.
    ``state_base[l]``: the layer's first group of cell_rate neurons.  ``bias_base``: first bias column.
    ``needs``: each capacity of the design, and what the network needs of it.
    """

    def __init__(self, network: Network, design: Design, check: bool = True):
        self.network, self.design = network, design
        p, g = design.lanes, design.cell_rate
        self.words = [-(-layer.size // p) for layer in network.gru]
        self.layer_target = [4 * sum(self.words[:l]) for l in range(len(network.gru))]
        self.logit_target = 4 * sum(self.words)
        self.logit_words = -(-network.classes // p)
        self.acc_words = self.logit_target + self.logit_words
        groups = [-(-layer.size // g) for layer in network.gru]
        self.state_base = [sum(groups[:l]) for l in range(len(groups))]
        self.columns, base = [], 0
        for s in range(network.signals):
            target = self.layer_target[s - 1] + self.words[s - 1] if s else 0
            end = self.layer_target[s] + 3 * self.words[s] if s < len(network.gru) else self.acc_words
            self.columns.append(Column(base, end - target, target))
            base += (end - target) * network.elements(s)
        self.bias_base = base
        self.weight_words = base + len(BIAS_DELTAS) * self.acc_words
        self.needs = (
            Need("weight memory words", self.weight_words, design.weight_words),
            Need("accumulator words", self.acc_words, design.acc_words),
            Need("features", network.features, design.features),
            Need("neurons", sum(groups) * g, design.neurons),
            Need("classes", network.classes, design.classes),
            Need("GRU layers", len(network.gru), design.layers),
        )
        if check and (refusal := self.refusal()):
            raise CapacityError(refusal)

    def refusal(self) -> str | None:
        """Why the network does not fit: everything that there is too little of, in one line; None if it fits."""
        short = [str(need) for need in self.needs if not need.fits]
        return f"the model needs {'; '.join(short)}; use a smaller model or a board with more" if short else None

    def reads(self, layer: int) -> int:
        """Words that a core without a snapshot reads to close a layer: 4 gates of each neuron."""
        return 4 * self.network.gru[layer].size

    def dense_words(self) -> int:
        """Weight words of a dense frame: every column once."""
        return sum(c.length * self.network.elements(s) for s, c in enumerate(self.columns))

    def pack(self, model: Model) -> np.ndarray:
        """Weight memory contents: int8 (weight_words, lanes)."""
        memory = np.zeros((self.weight_words, self.design.lanes), np.int8)
        for s, column in enumerate(self.columns):
            rows = self._column_rows(model, s)
            elements = self.network.elements(s)
            view = memory[column.base : column.base + column.length * elements]
            view.reshape(elements, -1)[:] = rows.T
        digits = bias_digits(self._bias(model))
        for k, digit in enumerate(digits):
            start = self.bias_base + k * self.acc_words
            memory[start : start + self.acc_words] = digit.reshape(self.acc_words, -1)
        return memory

    def registers(self) -> dict[str, int]:
        """Register name → value (see ``registers.py``); MODE is left alone."""
        net = self.network
        values = {
            "LAYERS": len(net.gru), "FEATURES": net.features, "CLASSES": net.classes, "BIAS_BASE": self.bias_base,
            "ACC_WORDS": self.acc_words, "LOGIT_TARGET": self.logit_target,
        }
        for s, column in enumerate(self.columns):
            values |= {f"THETA{s}": net.thresholds[s], f"COLUMN_BASE{s}": column.base,
                       f"COLUMN_LENGTH{s}": column.length, f"COLUMN_TARGET{s}": column.target}
        for l, layer in enumerate(net.gru):
            values |= {f"LAYER_SIZE{l}": layer.size, f"LAYER_WORDS{l}": self.words[l],
                       f"LAYER_FRAC{l}": layer.weight_frac, f"LAYER_STATE{l}": self.state_base[l],
                       f"LAYER_TARGET{l}": self.layer_target[l]}
        return values

    def _pad(self, rows: np.ndarray, words: int) -> np.ndarray:
        """Rows (n, ...) of one gate padded with zeros to whole words."""
        short = words * self.design.lanes - rows.shape[0]
        return np.concatenate([rows, np.zeros((short, *rows.shape[1:]), rows.dtype)])

    def _column_rows(self, model: Model, signal: int) -> np.ndarray:
        """All rows that a signal feeds, padded, in accumulator order: int8 (length·P, elements)."""
        parts = []
        if signal:
            l = signal - 1
            r, z, n = np.split(model.tensors[f"gru.{l}.weight_hh"], 3)
            parts += [self._pad(x, self.words[l]) for x in (r, z, n)]
        if signal < len(self.words):
            r, z, n = np.split(model.tensors[f"gru.{signal}.weight_ih"], 3)
            parts += [self._pad(x, self.words[signal]) for x in (n, r, z)]
        else:
            parts.append(self._pad(model.tensors["classifier.weight"], self.logit_words))
        return np.concatenate(parts)

    def _bias(self, model: Model) -> np.ndarray:
        """All accumulators' initial values, padded: int32 (acc_words·P,)."""
        parts = []
        for l, words in enumerate(self.words):
            parts += [self._pad(gate, words) for gate in model.tensors[f"gru.{l}.bias"]]
        parts.append(self._pad(model.tensors["classifier.bias"], self.logit_words))
        return np.concatenate(parts)
