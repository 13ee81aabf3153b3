"""Where a model lies in the memories of a design: packing for P lanes and the register values.

Accumulators are kept per layer gate by gate (a GRU's as ``[nx | r | z | nh]``, see ``cells.py``), each gate padded to
whole words of P.  Layers follow each other and the classifier comes last, so the connections of a hidden signal, to the
last gates of its own layer and to the first of the next (or the logits), are neighbours: one contiguous run.
A column of the weight memory is that run, and the bias columns run over all accumulators.

The accumulators of a convolution lie position by position, each position's channels padded to whole words.  Its weights
lie by input channel, then row and column of the kernel in the order of their slots (``conv.py``), and an event of it
is a few runs of words, one for each row of positions that it reaches.  A signal that feeds two convolutions has the
columns of both, and an event the runs of both.  Neurons are numbered as the words lie: where channels are padded, some
numbers are left out (``Layout.numbers``).
"""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from .boards import BOARDS
from .cells import CELLS
from .conv import Conv2d
from .design import MEMORIES, SIMULATED, Design, simulated
from .errors import CapacityError
from .formats import BIAS_DELTAS, bias_digits, divides
from .model import Model, tensor_name
from .network import Connection, Network
from .rules import RULES

SLOTS = "neuron slots"      # the need of a network whose channels are padded: more than it has neurons


@dataclass(frozen=True)
class Column:
    """Columns of one signal: weight-memory word of element 0, words per column, first accumulator word.

    Of a convolution ``length`` is the accumulator words of a position, and ``each`` the weight words of one weight of
    the kernel: as many, or 1 if it is depthwise.
    """

    base: int
    length: int
    target: int
    each: int = 0


@dataclass(frozen=True)
class WordRun:
    """Words of weights from ``word`` on that are added to accumulators from ``target`` on."""

    word: int
    target: int
    length: int


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

    ``words[l]``: accumulator words of one gate of layer l.  ``layer_target[l]``: its first accumulator
    word.  ``logit_target``, ``logit_words``: the classifier's.  ``columns[s]``: the columns of signal s; of one that
    feeds two convolutions those of the first, and ``skips[s]`` those of the second.
    ``state_base[l]``: the layer's first group of cell_rate neurons.  ``bias_base``: first bias column.
    ``needs``: each capacity of the design, and what the network needs of it; of neurons it needs ``SLOTS`` where
    channels are padded to whole words.
    """

    def __init__(self, network: Network, design: Design, check: bool = True):
        self.network, self.design = network, design
        p, g = design.lanes, design.cell_rate
        # accumulator words of a position (of a layer that is no convolution, of a gate)
        self.position_words = [-(-layer.channels // p) for layer in network.layers]
        self.words = [words * (layer.conv.positions if layer.conv else 1)
                      for layer, words in zip(network.layers, self.position_words, strict=True)]
        # neurons with those that only fill words up
        self.sizes = [words * p if layer.conv else layer.size
                      for layer, words in zip(network.layers, self.words, strict=True)]
        ends = list(accumulate((len(layer.cell.gates) * words
                                for layer, words in zip(network.layers, self.words, strict=True)), initial=0))
        self.layer_target, self.logit_target = ends[:-1], ends[-1]
        self.logit_words = -(-network.classes // p)
        self.acc_words = self.logit_target + self.logit_words
        groups = [-(-size // g) for size in self.sizes]
        self.state_base = [sum(groups[:l]) for l in range(len(groups))]
        self.columns, self.skips, base = list[Column](), dict[int, Column](), 0
        for s in range(network.signals):
            if network.convolves(s):
                for n, c in enumerate(network.connections(s)):
                    assert c.conv is not None
                    length = self.position_words[c.layer]
                    column = Column(base, length, self.layer_target[c.layer], 1 if c.conv.depthwise else length)
                    base += column.each * c.conv.channels * c.conv.kernel**2
                    if n:
                        self.skips[s] = column
                    else:
                        self.columns.append(column)
                continue
            target, length = self._run(s)
            self.columns.append(Column(base, length, target))
            base += length * self.numbered(s)
        self.bias_base = base
        self.weight_words = base + len(BIAS_DELTAS) * self.acc_words
        self.needs = (
            Need("weight memory words", self.weight_words, design.weight_words),
            Need("accumulator words", self.acc_words, design.acc_words),
            Need("features", network.features, design.features),
            Need(self._neurons(), sum(groups) * g, design.neurons),
            Need("classes", network.classes, design.classes),
            Need("layers", len(network.layers), design.layers),
        )
        if check and (refusal := self.refusal()):
            raise CapacityError(refusal)

    def refusal(self) -> str | None:
        """Why the network does not fit: everything that there is too little of, in one line; None if it fits."""
        if awkward := self._awkward():
            return awkward
        short = [str(need) for need in self.needs if not need.fits]
        if short:
            return f"the model needs {'; '.join(short)}; use a smaller model or {self._with_more()}"
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

    def _neurons(self) -> str:
        """What the network needs neurons of a core for: channels of an image are padded to whole words."""
        layers = self.network.layers
        return SLOTS if any(size != layer.size for size, layer in zip(self.sizes, layers, strict=True)) else "neurons"

    def _convolving(self) -> str:
        """Where a network with convolutions runs, in words."""
        for board in BOARDS.values():
            for design in board.designs:
                if design.convolves and Layout(self.network, design, check=False).refusal() is None:
                    return f"the design that can, --board {board.name} --lanes {design.lanes}, or a virtual board"
        return self._with_more()

    def _with_more(self) -> str:
        """A board on which there is enough of everything, in words."""
        for lanes in sorted(SIMULATED, key=lambda lanes: (lanes != self.design.lanes, lanes)):
            for memory in MEMORIES:
                other = Layout(self.network, simulated(lanes, memory), check=False)
                if all(need.fits for need in other.needs) and other._awkward() is None:
                    options = f"--lanes {lanes}{f' --memory {memory}' if memory > 1 else ''}"
                    return (f"a board with more, such as the virtual one with {options} (its first use compiles for "
                            "some minutes)")
        return "a board with more"

    def _rule_names(self) -> set[str]:
        """The encoder rules that a design must have; where layers consume, ``diffuse`` is among them."""
        net = self.network
        names = {RULES[0] if net.rule(s) is None else "diffuse" for s in range(net.signals)}
        return names | ({"diffuse"} if any(x.consumes for x in (*net.layers, net.classifier)) else set())

    def _awkward(self) -> str | None:
        """Why a convolution cannot be laid out; None if it can, or if there is none."""
        p, layers = self.design.lanes, self.network.layers
        convolutions = [layer for layer in layers if layer.conv]
        if convolutions and not self.design.convolves:
            return f"the model has a convolution, which the board cannot address; use {self._convolving()}"
        for layer in convolutions:
            if layer.channels > p and layer.channels % p:
                return (f"a convolution of {layer.channels} channels fits no {p} lanes; use up to {p} channels, or a "
                        f"multiple of {p}")
            for conv in layer.convs:
                if conv.depthwise and layer.channels > p and conv.kernel > conv.stride:
                    return ("a depthwise convolution whose kernel is larger than its stride has a channel per lane, up "
                            f"to {p}, not {layer.channels}; use a board with more lanes")
        if self.network.skips and not self.design.skips:
            return "the model has two convolutions of one image, for which the board has no room; use a virtual board"
        for s in range(self.network.signals):
            if self.network.convolves(s):
                for divisor, most in self._divisions(s):
                    if not divides(divisor, most):
                        return (f"signal {s} is an image too large for the addresser; use fewer channels or a smaller "
                                "image")
        return None

    def _divisions(self, signal: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """(divisor, largest dividend) by which a core finds the pixel, and its row, of an element of an image."""
        conv = self.network.connections(signal)[0].conv
        assert conv is not None
        return ((self.pixel_numbers(signal), self.numbered(signal) - 1), (conv.width, conv.height * conv.width - 1))

    def pixel_numbers(self, signal: int) -> int:
        """Numbers of the elements of a pixel of a signal that is an image, with those that are left out."""
        conv = self.network.connections(signal)[0].conv
        assert conv is not None
        made_by = self.network.layers[signal - 1] if signal else None
        return self.position_words[signal - 1] * self.design.lanes if made_by and made_by.conv else conv.channels

    def numbered(self, signal: int) -> int:
        """Numbers that the elements of a signal have, with those that are left out."""
        return self.sizes[signal - 1] if signal else self.network.features

    def numbers(self, signal: int) -> np.ndarray:
        """The number of each element of a signal in the core, int64 (elements,)."""
        layer = self.network.layers[signal - 1] if signal else None
        if layer is None or layer.conv is None:
            return np.arange(self.network.elements(signal))
        padded = self.position_words[signal - 1] * self.design.lanes
        return (np.arange(layer.conv.positions)[:, None] * padded + np.arange(layer.channels)).ravel()

    def runs(self, signal: int, element: int) -> list[WordRun]:
        """What an event of an element (its index in the network) makes the core read."""
        column = self.columns[signal]
        if not self.network.convolves(signal):
            number = int(self.numbers(signal)[element]) if signal else element
            return [WordRun(column.base + number * column.length, column.target, column.length)]
        return [run for runs in self.image_runs(signal, element) for run in runs]

    def image_runs(self, signal: int, element: int) -> list[list[WordRun]]:
        """The same of each convolution that hears the signal."""
        return [self._image_runs(conv, column, element) for conv, column in self.images(signal)]

    def images(self, signal: int) -> list[tuple[Conv2d, Column]]:
        """The convolutions that hear a signal, in the order in which a core adds to them, and the columns of each."""
        columns = (self.columns[signal], self.skips.get(signal))
        return [(c.conv, column) for c, column in zip(self.network.connections(signal), columns, strict=False)
                if c.conv and column]

    def _image_runs(self, conv: Conv2d, column: Column, element: int) -> list[WordRun]:
        pixel, c = divmod(element, conv.channels)
        y, x = divmod(pixel, conv.width)
        columns, runs = conv.reached(x, conv.out_width), []
        # a depthwise one adds to the word of its channel; if a position has several words, it reaches one position
        aside = c // self.design.lanes if conv.depthwise else 0
        for row in conv.reached(y, conv.out_height):
            ky, kx = (at + conv.padding - out * conv.stride for at, out in ((y, row), (x, columns[0])))
            slot = (c * conv.kernel + conv.slots[ky]) * conv.kernel + conv.slots[kx]
            target = column.target + (row * conv.out_width + columns[0]) * column.length + aside
            runs.append(WordRun(column.base + slot * column.each, target, len(columns) * column.each))
        return runs

    def words_read(self, signal: int) -> np.ndarray:
        """Weight words that an event of each element of a signal reads, int64 (elements,)."""
        if not self.network.convolves(signal):
            return np.full(self.network.elements(signal), self.columns[signal].length, np.int64)
        return np.sum([np.repeat(conv.taps() * column.each, conv.channels) for conv, column in self.images(signal)], 0)

    def mean_words(self, signal: int) -> float:
        """The mean of ``words_read``, a whole number if no convolution hears the signal."""
        return float(self.words_read(signal).mean()) if self.network.convolves(signal) else self.columns[signal].length

    def closing(self, layer: int) -> tuple[int, int]:
        """Words of the two jobs that close a layer: the gates that its input feeds, and the other gates.

        Without a snapshot the first job copies all gates of every neuron, and there is no second one (0 words).
        """
        cell, size, words = self.network.layers[layer].cell, self.sizes[layer], self.words[layer]
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
        return sum(int(self.words_read(s).sum()) for s in range(self.network.signals))

    def pack(self, model: Model) -> np.ndarray:
        """Weight memory contents: int8 (weight_words, lanes)."""
        memory = np.zeros((self.weight_words, self.design.lanes), np.int8)
        for s, column in enumerate(self.columns):
            if self.network.convolves(s):
                for c, (conv, kernels) in zip(self.network.connections(s), self.images(s), strict=True):
                    self._pack_kernels(model, c, conv, kernels, memory)
                continue
            rows, numbered = self._column_rows(model, s), self.numbered(s)
            view = memory[column.base : column.base + column.length * numbered]
            view.reshape(numbered, -1)[self.numbers(s)] = rows.T
        digits = bias_digits(self._bias(model))
        for k, digit in enumerate(digits):
            start = self.bias_base + k * self.acc_words
            memory[start : start + self.acc_words] = digit.reshape(self.acc_words, -1)
        return memory

    def _pack_kernels(self, model: Model, connection: Connection, conv: Conv2d, column: Column,
                      memory: np.ndarray) -> None:
        """Write the weights of a convolution to the weight memory."""
        l, k = connection.layer, conv.kernel
        layer = self.network.layers[l]
        weights = model.tensors[tensor_name(layer, l, "weight_ih")]
        kernels = weights[:, connection.column : connection.column + conv.columns].reshape(layer.channels, -1, k, k)
        words = np.zeros((conv.channels, k, k, column.each * self.design.lanes), np.int8)
        slots = np.array(conv.slots)
        rows, columns = np.ix_(slots, slots)
        if conv.depthwise:
            for c in range(conv.channels):
                words[c, rows, columns, c % self.design.lanes] = kernels[c, 0]
        else:
            words[:, rows, columns, : layer.channels] = kernels.transpose(1, 2, 3, 0)
        end = column.base + conv.channels * k * k * column.each
        memory[column.base : end] = words.reshape(-1, self.design.lanes)

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
            gates = model.tensors[tensor_name(layer, l, "bias")]
            if layer.conv is not None:
                parts.append(np.tile(self._pad(gates[0], self.position_words[l]), layer.conv.positions))
                continue
            parts += [self._pad(gate, words) for gate in gates]
        parts.append(self._pad(model.tensors["classifier.bias"], self.logit_words))
        return np.concatenate(parts)
