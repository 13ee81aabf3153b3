"""Tests the weight memory of a board.  No request reads it, so the results of the core show its contents.

    for a random fill, and then for its complement:     write all of the memory; look at all of it

If an address line is stuck or tied to another, the write to one word changes another word.  So all words are written
before any is checked.  The complement gives every bit both values.

Lanes that have a class show through the logits.  The features' columns are pointed at the logits' accumulators, so that
from one frame x to the next

    logit[k·P + p] changes by Σ_f weight[base + f·L + k][p] · Δx[f]     (mod 2**24)

with thousands of weights; no Δx[f] is 0, so a single wrong weight always shows.  The layer that a core needs is one
neuron that never fires.  Where a change is wrong, frames of one feature each read the weights one by one.

Signals have the rule ``delta``.  On a board without it the rule is ``diffuse``, with a step of one LSB, the levels
±2047 and Θ = 1: so the features are sent as they are, and Δx[f] is x[f].

Lanes without a class (of 128 lanes with 64 classes) show through cells, on a board that has the unit or the GRU; on
others they are not looked at, and the step says so.  The neurons of a layer take each word as the weights of one
feature, and the logits are sums over all that they send.  Units send the weights themselves.  GRUs take them as nx,
with z at its least; once for weights from 0 on, once for those below.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..progress import Progress
from ..spec.activation import sigmoid, tanh
from ..spec.cells import CELLS, GRU, UNIT, Cell
from ..spec.design import Design
from ..spec.fixed import round_shift, wrap
from ..spec.formats import (
    ACC_BITS,
    BIAS_DELTAS,
    BIAS_MAX,
    CANDIDATE,
    CANDIDATE_ARG,
    GATE_ARG,
    GATE_FRAC,
    PRE,
    SIGNAL,
    STATE,
    WEIGHT_FRACS,
    acc_frac,
    bias_digits,
)
from ..spec.packets import Request, result_dtype
from ..spec.register_values import consuming, rule_registers
from ..spec.registers import BY_NAME
from ..spec.rules import Diffuse
from .board import Board
from .errors import BoardError

NEVER = (1 << 13) - 1   # Θ beyond any change, and beyond what is sent of any signal
# what a signal sends on a board without the rule ``delta``: its values, as they are
AS_IT_IS, ALL = Diffuse(1, -SIGNAL.max, SIGNAL.max), 1
RELOAD = "load the bitstream again; if that does not help, its clock is too fast for this board, or the chip is broken"

Advance = Callable[[int], None]


class MemoryFault(BoardError):
    """A weight that does not hold what was written to it."""

    def __init__(self, seen: str):
        super().__init__(f"{seen}; {RELOAD}")


def check_memory(board: Board, seed: int, progress: Progress | None = None) -> str:
    """Write and look at every byte of the weight memory twice; MemoryFault names the first word that is wrong.

    ``seed``: of the contents.  ``progress(done, total)`` is called with bytes.  Afterwards the board has no model.
    Gives a line of what was done.
    """
    design, eyes = board.design, None
    board.model = board.layout = None
    if design.lanes > design.classes:
        eyes = next((way for way in EYES if way.cell.name in design.cells), None)
    done, total = 0, (2 + (len(eyes.centres) if eyes else 0)) * 2 * design.weight_bytes

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(min(done, total), total)

    image = np.random.default_rng(seed).integers(-128, 128, (design.weight_words, design.lanes)).astype(np.int8)
    for fill in (image, ~image):
        board.write_register("LAYERS", 0)
        _write(board, 0, fill, advance)
        _look_through_logits(board, fill, seed, advance)
        if eyes:
            _look_through_cells(board, eyes, fill, advance)
    board.write_register("LAYERS", 0)
    seen = min(design.lanes, max(design.neurons if eyes else 0, design.classes))
    unseen = f"; the other {design.lanes - seen} lanes show nowhere" if seen < design.lanes else ""
    return f"{design.weight_words} words of {seen} lanes hold random weights and their complement (seed {seed}){unseen}"


def _write(board: Board, word: int, weights: np.ndarray, advance: Advance = lambda count: None) -> None:
    """Write int8 (words, lanes) from a word on."""
    before = 0

    def progress(written: int, _: int) -> None:
        nonlocal before
        advance(written - before)
        before = written

    board.write_weights(weights, word, progress)


def _cell(design: Design) -> Cell:
    """Of a design's cells the one with the fewest gates, the first of equals."""
    return min((CELLS[name] for name in design.cells), key=lambda cell: len(cell.gates))


def _set_up(board: Board, cell: Cell, size: int, rules: dict[str, int], **registers: int) -> None:
    """One layer of ``size`` neurons with one word a gate, from accumulator word 0 on, then the logits; MODE off.

    ``rules``: what ``_sends`` gave for each of the two signals.  Units are relus.  Sums are held.
    """
    design, gates, fed = board.design, len(cell.gates), len(cell.input_rows)
    common = {"LAYER_SIZE0": size, "LAYER_WORDS0": 1, "LAYER_TARGET0": 0, "LAYER_STATE0": 0, "LAYER_CLOSE0": fed,
              "LAYER_REST0": gates - fed, "LAYER_CELL0": design.cells.index(cell.name), "LOGIT_TARGET": gates,
              "ACC_WORDS": gates, "BIAS_BASE": 0, "FEATURES_AFTER": 0, "LAYER_CONSUME0": 0, "LOGIT_CONSUME": 0,
              "LAYER_ACTIVATION0": UNIT.activations.index("relu"), "LAYER_LANES0": design.lanes}
    common |= {f"{which}CONV{s}": 0 for which in ("", "SKIP_") for s in (0, 1)}       # what a model before left there
    board.write_register("LAYERS", 0)
    board.dense = False
    for name, value in (common | rules | registers).items():
        if BY_NAME[name].there(design):
            board.write_register(name, value)
    board.write_register("LAYERS", 1)


def _sends(design: Design, signal: int, always: bool) -> dict[str, int]:
    """Register name → value of the rule of a signal that sends every change (see ``AS_IT_IS``), or never anything."""
    if "delta" in design.rules:
        return rule_registers(signal, None, 0 if always else NEVER)
    return rule_registers(signal, AS_IT_IS, ALL) if always else rule_registers(signal, Diffuse(1), NEVER)


def _frames(board: Board, frames: np.ndarray, classes: int) -> np.ndarray:
    """Logits (T, classes), int64, of SIGNAL integers (T, features) that fit one request."""
    answer = board.link.request(Request.FRAMES, frames.astype("<i2").tobytes())
    layout = result_dtype(classes)
    if len(answer) != len(frames) * layout.itemsize:
        raise BoardError("the board answers frames of another length; load the bitstream of this version")
    return np.frombuffer(answer, layout)["logits"].astype(np.int64)


class _Logits:
    """Columns of ``length`` words, of which the logits show ``shown`` at a time, of each the first ``lanes`` lanes.

    Two words at least: the lanes cannot add to the same one twice running.  No reset is needed: what the accumulators
    hold at the beginning does not matter.
    """

    def __init__(self, board: Board):
        self.board, design, cell = board, board.design, _cell(board.design)
        self.target, self.differs = len(cell.gates), "delta" in design.rules
        self.lanes = min(design.lanes, design.classes)
        self.shown = max(1, min(design.classes // design.lanes, design.acc_words - self.target))
        self.length = max(2, self.shown)
        self.features = min(design.features, design.weight_words // self.length)
        self.words = self.features * self.length        # of a block: what one base shows
        _set_up(board, cell, 1, _sends(design, 0, True) | _sends(design, 1, False), FEATURES=self.features,
                CLASSES=self.shown * self.lanes, COLUMN_LENGTH0=self.length, COLUMN_TARGET0=self.target,
                LAYER_FRAC0=WEIGHT_FRACS.start)
        self._last = np.zeros((self.length, self.lanes), np.int64)
        self.changes(0, np.zeros((1, self.features), np.int64))

    def sent(self, before: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """Δ of each feature (features,) in a frame after the one ``before``."""
        return frame - before if self.differs else frame

    def changes(self, base: int, frames: np.ndarray) -> np.ndarray:
        """How the logits change with each of the frames (T, features), where the block of ``words`` from ``base`` on is
        read: (T, length, lanes).

        One frame a request: else features of the next would be added before the logits are copied.
        """
        self.board.write_register("COLUMN_BASE0", base)
        result = []
        for frame in frames:
            parts = []
            for first in range(0, self.length, self.shown):     # nothing moves but for the first
                if self.length > self.shown:
                    self.board.write_register("LOGIT_TARGET", self.target + first)
                if first and not self.differs:
                    frame = np.zeros_like(frame)
                parts.append(_frames(self.board, frame[None], self.shown * self.lanes).reshape(self.shown, self.lanes))
            logits = np.concatenate(parts)
            result.append(wrap(logits - self._last, ACC_BITS))
            self._last = logits
        return np.array(result)


def _look_through_logits(board: Board, image: np.ndarray, seed: int, advance: Advance) -> None:
    logits, draw = _Logits(board), np.random.default_rng([seed, 1])
    last, x, sign = len(image) - logits.words, np.zeros(logits.features, np.int64), 1
    for base in [*range(0, last, logits.words), last]:
        # up and down by turns, so that everything moves and no Δ is clipped
        before, x, sign = x, sign * draw.integers(1, SIGNAL.max // 2 + 1, logits.features), -sign
        block = image[base : base + logits.words, : logits.lanes].astype(np.int64)
        columns = block.reshape(logits.features, logits.length, -1)
        expected = wrap(np.tensordot(logits.sent(before, x), columns, 1), ACC_BITS)
        if not np.array_equal(logits.changes(base, x[None])[0], expected):
            one_by_one = np.eye(logits.features + 1, logits.features, -1, np.int64)     # after a frame of zeros
            read = logits.changes(base, one_by_one)[1:]
            if logits.differs:
                read = wrap(np.cumsum(read, 0), ACC_BITS)
            raise MemoryFault(_difference(image, base, read.reshape(block.shape)))
        advance(logits.words * board.design.lanes)


def _difference(image: np.ndarray, base: int, read: np.ndarray) -> str:
    """Where weights (words, lanes) that were read from ``base`` on first differ from the image."""
    words, lanes = read.shape
    written = image[base : base + words, :lanes]
    wrong = read != written
    if not wrong.any():
        return f"sums over words {base}..{base + words - 1} are wrong, but one by one their weights read as written"
    word = int(wrong.any(1).argmax())
    where = np.flatnonzero(wrong[word])
    same = np.flatnonzero((image[:, :lanes] == read[word]).all(1))
    text = f"word {base + word} is wrong in lanes {where[0]}..{where[-1]}: "
    if len(same):
        text += f"it holds what was written to word {same[0]}, so an address line is stuck or tied to another"
    else:
        lane = where[0]
        text += f"lane {lane} holds {read[word, lane]} where {written[word, lane]} was written"
    return text + f" ({int(wrong.sum())} wrong weights in words {base}..{base + words - 1})"


_FRAC = WEIGHT_FRACS.start                      # of the layer
_CLASSES, _COLUMNS = 4, 12                      # results, and frames, that fill one answer
_HIDDEN_COLUMN = 2                              # words: the logits, and a word that nobody looks at
Z_LEAST = int(sigmoid(-GATE_ARG.max))


@dataclass(frozen=True)
class Eyes:
    """How a layer of a ``cell`` shows weights.  Its columns are as of any layer.

    The first gate hears ``gain`` · (weight − centre), for each of the ``centres``; the other gates get the ``biases``.
    ``signal(weights, centre)``: v (T, neurons) after each frame when weights int8 (T, neurons) come one after the
    other, from reset on.
    """

    cell: Cell
    gain: int
    centres: tuple[int, ...]
    biases: tuple[int, ...]
    signal: Callable[[np.ndarray, int], np.ndarray]

    @property
    def bias_words(self) -> int:
        return len(BIAS_DELTAS) * len(self.cell.gates)

    def bias(self, centre: int) -> np.ndarray:
        """The bias columns, of one lane: int8 (bias_words, 1)."""
        return np.array(bias_digits(np.array([-self.gain * centre, *self.biases])), np.int8).reshape(-1, 1)


def unit_signal(weights: np.ndarray, centre: int) -> np.ndarray:
    """See ``Eyes.signal``."""
    return np.asarray(SIGNAL.requantise((weights.astype(np.int64) - centre) << _FRAC, acc_frac(_FRAC)))


GAIN = 12


def gru_signal(weights: np.ndarray, centre: int) -> np.ndarray:
    """See ``Eyes.signal``."""
    nx = PRE.requantise(GAIN * (weights.astype(np.int64) - centre), acc_frac(_FRAC))
    n = tanh(CANDIDATE_ARG.requantise(nx << GATE_FRAC, PRE.frac + GATE_FRAC)) << (STATE.frac - CANDIDATE.frac)
    h, v = np.zeros(weights.shape[1], np.int64), []
    for target in n:
        h = target + round_shift(Z_LEAST * (h - target), GATE_FRAC)
        v.append(round_shift(h, STATE.frac - SIGNAL.frac))
    return np.array(v)


EYES = (
    # the identity of the sum of one feature, which is 2**_FRAC: the weight
    Eyes(UNIT, 1 << _FRAC, (0,), (), unit_signal),
    # nx is the accumulator as it is.  With nh = 0 r says nothing, and a bias holds z at its least whatever weights are
    # added, so that h is nearly n.  A centre tells 0..127 or -128..-1 from all others.
    Eyes(GRU, GAIN, (64, -64), (0, -BIAS_MAX, 0), gru_signal),
)


def _look_through_cells(board: Board, eyes: Eyes, image: np.ndarray, advance: Advance) -> None:
    """Look at all lanes of all words, one word a frame: v = f(weight) of each lane, and as logits sums over all v.

    The columns of v lie in the memory under test, in lanes that the logits have shown to be right; the bias lies in
    words that are looked at with the other half.
    """
    design, (words, lanes), gates = board.design, image.shape, len(eyes.cell.gates)
    size, classes, features = min(lanes, design.neurons), min(_CLASSES, design.classes), min(_COLUMNS, design.features)
    one_hot = eyes.gain * np.eye(features, dtype=np.int64)
    rules = _sends(design, 0, True) | _sends(design, 1, True)
    if "delta" not in design.rules:             # what comes is all of x, and all of v
        rules |= {"LAYER_CONSUME0": consuming(len(BIAS_DELTAS)), "LOGIT_CONSUME": consuming(0)}
    for half, bias_base, hidden_base in ((range(0, words // 2), words - eyes.bias_words, 0),
                                         (range(words // 2, words), 0, words - _HIDDEN_COLUMN * size)):
        outputs = image[hidden_base : hidden_base + _HIDDEN_COLUMN * size : _HIDDEN_COLUMN, :classes].astype(np.int64)
        for centre in eyes.centres:
            _write(board, bias_base, np.repeat(eyes.bias(centre), lanes, 1))
            _set_up(board, eyes.cell, size, rules, FEATURES=features, CLASSES=classes, BIAS_BASE=bias_base,
                    COLUMN_LENGTH0=len(eyes.cell.input_rows), COLUMN_TARGET0=0, COLUMN_BASE1=hidden_base,
                    COLUMN_LENGTH1=_HIDDEN_COLUMN, COLUMN_TARGET1=gates, LAYER_FRAC0=_FRAC,
                    LAYER_ACTIVATION0=UNIT.activations.index("identity"))
            for seen in _runs(half, features, len(eyes.cell.input_rows)):
                board.write_register("COLUMN_BASE0", seen[0])
                board.reset()
                logits = _frames(board, one_hot[: len(seen)], classes)
                expected = wrap(eyes.signal(image[list(seen), :size], centre) @ outputs, ACC_BITS)
                wrong = (logits != expected).any(1)
                if wrong.any():
                    raise MemoryFault(f"word {seen[int(wrong.argmax())]} is wrong in lanes {design.classes}.."
                                      f"{lanes - 1}, or one of the words {bias_base}.."
                                      f"{bias_base + eyes.bias_words - 1} through which it is seen, or their cells")
                advance(len(seen) * lanes)
        _write(board, bias_base, image[bias_base : bias_base + eyes.bias_words])


def _runs(words: range, most: int, column: int) -> Iterator[range]:
    """Every word once: runs of at most so many, which lie a ``column`` of words apart."""
    for first in range(column):
        apart = words[first::column]
        yield from (apart[k : k + most] for k in range(0, len(apart), most))
