"""Where a model lies in the memories of a design: packing for P lanes and the register values.

Accumulators are kept per layer gate by gate (a GRU's as ``[nx | r | z | nh]``, see ``cells.py``), each gate padded to
whole words of P.  Layers follow each other and the classifier comes last, so the connections of a hidden signal, to the
last gates of its own layer and to the first of the next (or the logits), are neighbours: one contiguous run.
A column of the weight memory is that run, and the bias columns run over all accumulators.
"""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from .cells import CELLS
from .design import Design
from .errors import CapacityError
from .formats import BIAS_DELTAS, bias_digits
from .model import Model, tensor_name
from .network import Network
from .registers import BY_NAME
from .rules import RULES, Diffuse


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


def threshold_registers(network: Network) -> dict[str, int]:
    """Register name → value: those that follow the thresholds of a network."""
    values = {f"THETA{s}": theta for s, theta in enumerate(network.thresholds)}
    offsets = {f"OFFSET{s}": rule_registers(s, rule, network.thresholds[s])[f"OFFSET{s}"]
               for s, rule in enumerate(network.rules) if rule is not None}
    return values | offsets


def rule_registers(signal: int, rule: Diffuse | None, theta: int) -> dict[str, int]:
    """Register name → value of a signal's rule with this threshold, in a design with the rule ``diffuse``."""
    names = [f"{name}{signal}" for name in ("THETA", "RULE", "LOWEST", "HIGHEST", "OFFSET")]
    values = (theta, 0, 0, 0, 0) if rule is None else (
        theta, 1 | rule.zero << 1 | rule.leak << 2 | (rule.step - 1) << 5, rule.lowest * rule.step,
        rule.highest * rule.step, rule.step - theta)
    return {name: value % (1 << BY_NAME[name].bits) for name, value in zip(names, values, strict=True)}


def consuming(bias_columns: int) -> int:
    """Value of a register LAYER_CONSUME, of a layer that gets so many of its bias columns again."""
    return 1 + len(BIAS_DELTAS) - bias_columns


class Layout:
    """Addresses of a network in a design; raises CapacityError if it does not fit (unless ``check`` is False).

    ``words[l]``: accumulator words of one gate of layer l.  ``layer_target[l]``: its first accumulator
    word.  ``logit_target``, ``logit_words``: the classifier's.  ``columns[s]``: the columns of signal s.
    ``state_base[l]``: the layer's first group of cell_rate neurons.  ``bias_base``: first bias column.
    ``needs``: each capacity of the design, and what the network needs of it.
    """

    def __init__(self, network: Network, design: Design, check: bool = True):
        self.network, self.design = network, design
        p, g = design.lanes, design.cell_rate
        self.words = [-(-layer.size // p) for layer in network.layers]
        ends = list(accumulate((len(layer.cell.gates) * words
                                for layer, words in zip(network.layers, self.words, strict=True)), initial=0))
        self.layer_target, self.logit_target = ends[:-1], ends[-1]
        self.logit_words = -(-network.classes // p)
        self.acc_words = self.logit_target + self.logit_words
        groups = [-(-layer.size // g) for layer in network.layers]
        self.state_base = [sum(groups[:l]) for l in range(len(groups))]
        self.columns, base = [], 0
        for s in range(network.signals):
            target, length = self._run(s)
            self.columns.append(Column(base, length, target))
            base += length * network.elements(s)
        self.bias_base = base
        self.weight_words = base + len(BIAS_DELTAS) * self.acc_words
        self.needs = (
            Need("weight memory words", self.weight_words, design.weight_words),
            Need("accumulator words", self.acc_words, design.acc_words),
            Need("features", network.features, design.features),
            Need("neurons", sum(groups) * g, design.neurons),
            Need("classes", network.classes, design.classes),
            Need("layers", len(network.layers), design.layers),
        )
        if check and (refusal := self.refusal()):
            raise CapacityError(refusal)

    def refusal(self) -> str | None:
        """Why the network does not fit: everything that there is too little of, in one line; None if it fits."""
        short = [str(need) for need in self.needs if not need.fits]
        if short:
            return f"the model needs {'; '.join(short)}; use a smaller model or a board with more"
        cells, rules, have = {layer.cell.name for layer in self.network.layers}, self._rule_names(), self.design
        lacking = [f"the cell {name}" for name in CELLS if name in cells and name not in have.cells]
        lacking += [f"the rule {name}" for name in RULES if name in rules and name not in have.rules]
        if not lacking:
            return None
        there = [*(f"the cell {name}" for name in have.cells), *(f"the rule {name}" for name in have.rules)]
        options = f"--cells {','.join(name for name in CELLS if name in cells or name in have.cells)}"
        if (every := tuple(name for name in RULES if name in rules or name in have.rules)) != RULES[:1]:
            options += f" --rules {','.join(every)}"
        return (f"the model needs {' and '.join(lacking)}, the board has {' and '.join(there)}; `tidegate build "
                f"--board BOARD {options} --to FOLDER` builds one that has all of them, if its logic fits")

    def _rule_names(self) -> set[str]:
        """The encoder rules that a design must have; where layers consume, ``diffuse`` is among them."""
        net = self.network
        names = {RULES[0] if net.rule(s) is None else "diffuse" for s in range(net.signals)}
        return names | ({"diffuse"} if any(x.consumes for x in (*net.layers, net.classifier)) else set())

    def closing(self, layer: int) -> tuple[int, int]:
        """Words of the two jobs that close a layer: the gates that its input feeds, and the other gates.

        Without a snapshot the first job copies all gates of every neuron, and there is no second one (0 words).
        """
        cell, size, words = self.network.layers[layer].cell, self.network.layers[layer].size, self.words[layer]
        if not self.design.snapshot:
            return len(cell.gates) * size, 0
        fed = len(cell.input_rows)
        return fed * words, (len(cell.gates) - fed) * words

    def words_again(self) -> int:
        """Words of the bias columns that layers which consume get again in every frame; no event needs them."""
        words = [len(layer.cell.gates) * n for layer, n in zip(self.network.layers, self.words, strict=True)]
        layers = (*self.network.layers, self.network.classifier)
        return sum(layer.columns_again * n for layer, n in zip(layers, [*words, self.logit_words], strict=True))

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
            "LAYERS": len(net.layers), "FEATURES": net.features, "CLASSES": net.classes, "BIAS_BASE": self.bias_base,
            "ACC_WORDS": self.acc_words, "LOGIT_TARGET": self.logit_target,
        }
        for s, column in enumerate(self.columns):
            values |= {f"COLUMN_BASE{s}": column.base,
                       f"COLUMN_LENGTH{s}": column.length, f"COLUMN_TARGET{s}": column.target}
        for l, layer in enumerate(net.layers):
            values |= {f"LAYER_SIZE{l}": layer.size, f"LAYER_WORDS{l}": self.words[l],
                       f"LAYER_FRAC{l}": layer.weight_frac, f"LAYER_STATE{l}": self.state_base[l],
                       f"LAYER_TARGET{l}": self.layer_target[l],
                       f"LAYER_CELL{l}": self.design.cells.index(layer.cell.name)}
            if self.design.snapshot:
                values[f"LAYER_CLOSE{l}"], values[f"LAYER_REST{l}"] = self.closing(l)
            if self.design.choices and layer.cell.activations:
                values[f"LAYER_ACTIVATION{l}"] = layer.cell.activations.index(layer.activation)
        if self.design.branches:
            values["FEATURES_AFTER"] = net.features_after
        if self.design.diffuses:
            values |= self._consuming() | self._rules()
        return values | threshold_registers(net)

    def _consuming(self) -> dict[str, int]:
        """Register name → value: which layers consume, and which of their bias columns are added again."""
        names = [f"LAYER_CONSUME{l}" for l in range(len(self.network.layers))] + ["LOGIT_CONSUME"]
        layers = (*self.network.layers, self.network.classifier)
        return {name: consuming(layer.bias_columns) if layer.consumes else 0
                for name, layer in zip(names, layers, strict=True)}

    def _rules(self) -> dict[str, int]:
        """Register name → value of the rules of the signals."""
        values = {}
        for s in range(self.network.signals):
            values |= rule_registers(s, self.network.rule(s), self.network.thresholds[s])
        return values

    def _run(self, signal: int) -> tuple[int, int]:
        """First accumulator word, and number of words, that a signal feeds.

        Its connections are neighbours and become one run: an event is one job.
        """
        start = end = None
        for connection in self.network.connections(signal):
            if connection.layer == len(self.network.layers):
                first, words = self.logit_target, self.logit_words
            else:
                words = self.words[connection.layer]
                first = self.layer_target[connection.layer] + connection.gate * words
                words *= len(connection.blocks)
            assert end in (None, first), "the connections of a signal are not neighbours"
            start, end = first if start is None else start, first + words
        assert start is not None and end is not None
        return start, end - start

    def _pad(self, rows: np.ndarray, words: int) -> np.ndarray:
        """Rows (n, ...) of one gate padded with zeros to whole words."""
        short = words * self.design.lanes - rows.shape[0]
        return np.concatenate([rows, np.zeros((short, *rows.shape[1:]), rows.dtype)])

    def _column_rows(self, model: Model, signal: int) -> np.ndarray:
        """All rows that a signal feeds, padded, in accumulator order: int8 (length·P, elements)."""
        parts, layers = [], self.network.layers
        for connection in self.network.connections(signal):
            l, words = connection.layer, [*self.words, self.logit_words][connection.layer]
            tensor, first = connection.tensor, connection.column
            name = tensor_name(layers[l], l, tensor) if l < len(layers) else f"classifier.{tensor}"
            columns = model.tensors[name][:, first : first + self.network.elements(signal)]
            blocks = np.split(columns, len(connection.blocks))
            parts += [self._pad(blocks[block], words) for block in connection.blocks]
        return np.concatenate(parts)

    def _bias(self, model: Model) -> np.ndarray:
        """All accumulators' initial values, padded: int32 (acc_words·P,)."""
        parts = []
        for l, (layer, words) in enumerate(zip(self.network.layers, self.words, strict=True)):
            parts += [self._pad(gate, words) for gate in model.tensors[tensor_name(layer, l, "bias")]]
        parts.append(self._pad(model.tensors["classifier.bias"], self.logit_words))
        return np.concatenate(parts)
