"""Tests the weight memory of a board.  No request reads it, so the results of the core show its contents.

    for a random fill, and then for its complement:     write all of the memory; look at all of it

If an address line is stuck or tied to another, the write to one word changes another word.  So all words are written
before any is checked.  The complement gives every bit both values.

Lanes that have a class show through the logits.  The features' columns are pointed at the logits' accumulators, so that
from one frame x to the next

    logit[k·P + p] changes by Σ_f weight[base + f·L + k][p] · Δx[f]     (mod 2**24)

with thousands of weights; no Δx[f] is 0, so a single wrong weight always shows.  The layer that a core needs is one
neuron that never fires.  Where a change is wrong, frames of one feature each read the weights one by one.

Lanes without a class (of 128 lanes with 64 classes) show through cells, on a board that has the GRU; without it they
are not looked at, and the step says how many lanes it saw.  A layer of P neurons takes each word as nx in
turn, with z at its least, and the logits are sums over all h; once for weights from 0 on, once for those below.
"""

from collections.abc import Callable, Iterator

import numpy as np

from ..progress import Progress
from ..spec.activation import sigmoid, tanh
from ..spec.cells import CELLS, GRU
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
from .board import Board
from .errors import BoardError

GATE_WORDS = len(GRU.gates)     # accumulator words of a layer with one word a gate; the logits follow
NEVER = (1 << 13) - 1   # Θ beyond any change
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
    design = board.design
    board.model = board.layout = None
    cells = design.lanes > design.classes and GRU.name in design.cells
    done, total = 0, (4 if cells else 2) * 2 * design.weight_bytes

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
        if cells:
            _look_through_cells(board, fill, advance)
    board.write_register("LAYERS", 0)
    seen = design.lanes if cells else min(design.lanes, design.classes)
    return f"{design.weight_words} words of {seen} lanes hold random weights and their complement (seed {seed})"


def _write(board: Board, word: int, weights: np.ndarray, advance: Advance = lambda count: None) -> None:
    """Write int8 (words, lanes) from a word on."""
    before = 0

    def progress(written: int, _: int) -> None:
        nonlocal before
        advance(written - before)
        before = written

    board.write_weights(weights, word, progress)


def _set_up(board: Board, size: int, **registers: int) -> None:
    """One layer of ``size`` neurons with one word a gate, from accumulator word 0 on; MODE off."""
    cell = GRU if GRU.name in board.design.cells else CELLS[board.design.cells[0]]
    gates, fed = len(cell.gates), len(cell.input_rows)
    close, rest = (fed, gates - fed) if board.design.snapshot else (0, 0)
    common = {"LAYER_SIZE0": size, "LAYER_WORDS0": 1, "LAYER_TARGET0": 0, "LAYER_STATE0": 0, "LAYER_CLOSE0": close,
              "LAYER_REST0": rest, "LAYER_CELL0": board.design.cells.index(cell.name), "LOGIT_TARGET": GATE_WORDS,
              "THETA0": 0, "ACC_WORDS": GATE_WORDS, "BIAS_BASE": 0}
    board.write_register("LAYERS", 0)
    board.dense = False
    for name, value in (common | registers).items():
        board.write_register(name, value)
    board.write_register("LAYERS", 1)


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
        self.board, design = board, board.design
        self.lanes = min(design.lanes, design.classes)
        self.shown = max(1, min(design.classes // design.lanes, design.acc_words - GATE_WORDS))
        self.length = max(2, self.shown)
        self.features = min(design.features, design.weight_words // self.length)
        self.words = self.features * self.length        # of a block: what one base shows
        classes = self.shown * self.lanes
        _set_up(board, 1, FEATURES=self.features, CLASSES=classes, COLUMN_LENGTH0=self.length,
                COLUMN_TARGET0=GATE_WORDS, LAYER_FRAC0=WEIGHT_FRACS.start, THETA1=NEVER)
        self._last = np.zeros((self.length, self.lanes), np.int64)
        self.changes(0, np.zeros((1, self.features), np.int64))

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
                    self.board.write_register("LOGIT_TARGET", GATE_WORDS + first)
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
        expected = wrap(np.tensordot(x - before, block.reshape(logits.features, logits.length, -1), 1), ACC_BITS)
        if not np.array_equal(logits.changes(base, x[None])[0], expected):
            one_by_one = np.eye(logits.features + 1, logits.features, -1, np.int64)     # after a frame of zeros
            read = wrap(np.cumsum(logits.changes(base, one_by_one)[1:], 0), ACC_BITS)
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


# Through cells: a column is [nx | r | z] as of any layer.  With nh = 0 r says nothing, and a bias holds z at its least
# whatever weights are added, so that h is nearly n.
_FRAC = WEIGHT_FRACS.start                      # of the layer: nx is then the accumulator as it is
GAIN = 12                                       # nx = GAIN · (weight - centre)
CENTRES = (64, -64)                             # of 0..127 and of -128..-1, which are told from all others
_CLASSES, _COLUMNS = 4, 12                      # results, and frames, that fill one answer
# words; a hidden one is the logits, and a word that nobody looks at
_CELL_COLUMN, _HIDDEN_COLUMN = len(GRU.input_rows), 2
_BIAS_WORDS = len(BIAS_DELTAS) * GATE_WORDS
Z_LEAST = int(sigmoid(-GATE_ARG.max))


def _look_through_cells(board: Board, image: np.ndarray, advance: Advance) -> None:
    """Look at all lanes of all words, one word a frame: h = f(weight) of each lane, and as logits sums over all h.

    The columns of h lie in the memory under test, in lanes that the logits have shown to be right; the bias lies in
    words that are looked at with the other half.
    """
    words, lanes = image.shape
    size, classes = min(lanes, board.design.neurons), min(_CLASSES, board.design.classes)
    features = min(_COLUMNS, board.design.features)
    one_hot = GAIN * np.eye(features, dtype=np.int64)
    for half, bias_base, hidden_base in ((range(0, words // 2), words - _BIAS_WORDS, 0),
                                         (range(words // 2, words), 0, words - _HIDDEN_COLUMN * size)):
        outputs = image[hidden_base : hidden_base + _HIDDEN_COLUMN * size : _HIDDEN_COLUMN, :classes].astype(np.int64)
        for centre in CENTRES:
            bias = np.array(bias_digits(np.array([-GAIN * centre, 0, -BIAS_MAX, 0])), np.int8)
            _write(board, bias_base, np.repeat(bias.reshape(-1, 1), lanes, 1))
            _set_up(board, size, FEATURES=features, CLASSES=classes, BIAS_BASE=bias_base, COLUMN_LENGTH0=_CELL_COLUMN,
                    COLUMN_TARGET0=0, COLUMN_BASE1=hidden_base, COLUMN_LENGTH1=_HIDDEN_COLUMN,
                    COLUMN_TARGET1=GATE_WORDS, LAYER_FRAC0=_FRAC, THETA1=0)
            for seen in _runs(half, features):
                board.write_register("COLUMN_BASE0", seen[0])
                board.reset()
                logits = _frames(board, one_hot[: len(seen)], classes)
                expected = wrap(cell_signal(image[list(seen), :size], centre) @ outputs, ACC_BITS)
                wrong = (logits != expected).any(1)
                if wrong.any():
                    raise MemoryFault(f"word {seen[int(wrong.argmax())]} is wrong in lanes {board.design.classes}.."
                                      f"{lanes - 1}, or one of the words {bias_base}..{bias_base + _BIAS_WORDS - 1} "
                                      "through which it is seen, or their cells")
                advance(len(seen) * lanes)
        _write(board, bias_base, image[bias_base : bias_base + _BIAS_WORDS])


def _runs(words: range, most: int) -> Iterator[range]:
    """Every word once: runs of at most so many, which lie a column apart."""
    for first in range(_CELL_COLUMN):
        apart = words[first::_CELL_COLUMN]
        yield from (apart[k : k + most] for k in range(0, len(apart), most))


def cell_signal(weights: np.ndarray, centre: int) -> np.ndarray:
    """v (T, neurons) after each frame when weights int8 (T, neurons) come as nx one after the other, from reset on."""
    nx = PRE.requantise(GAIN * (weights.astype(np.int64) - centre), acc_frac(_FRAC))
    n = tanh(CANDIDATE_ARG.requantise(nx << GATE_FRAC, PRE.frac + GATE_FRAC)) << (STATE.frac - CANDIDATE.frac)
    h, v = np.zeros(weights.shape[1], np.int64), []
    for target in n:
        h = target + round_shift(Z_LEAST * (h - target), GATE_FRAC)
        v.append(round_shift(h, STATE.frac - SIGNAL.frac))
    return np.array(v)
