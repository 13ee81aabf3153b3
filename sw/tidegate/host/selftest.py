"""The bring-up checklist of a board: step by step, up to the first that fails.

    for step in checklist(lambda: Board.open("/dev/ttyUSB1")):
        print(step.name, step.passed, step.seen)

    identify    it answers, and is the core that is expected
    link        registers give back what is written, and no packet is lost or damaged on the way
    memory      the whole weight memory holds what is written to it (``memtest.py``)
    reset       frames leave a state behind, and a reset removes all of it
    golden      logits, events and weight words of small models are golden's, as thresholds have it and in dense mode
    stop        it decides in the frame and for the class that the stop rule gives, to one LSB, on clips and in a stream

There is a small model for each cell and each rule that a board can have; ``reset`` and ``golden`` take all of them, and
``stop``, to whose unit all logits are the same, the first.

A model that was on the board is lost; afterwards the board has no model, or that of the last step.
"""

import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from random import Random

import numpy as np

from ..progress import Progress
from ..spec.cells import CELLS, GRU, UNIT
from ..spec.design import ADDRESSERS, Design
from ..spec.errors import TidegateError
from ..spec.layout import Layout
from ..spec.model import Model, read_model
from ..spec.network import USUAL_LAYERS
from ..spec.packets import Request
from ..spec.registers import BY_NAME
from ..spec.rules import RULES
from ..spec.stop import SMOOTH_MAX, STOP_SHIFT, UNDECIDED, Decider, Stop, best_two, decisions, leads
from .board import Board
from .errors import BoardError
from .frame_result import FrameResult
from .memtest import RELOAD, check_memory

# A kind of model: the cell of its layers, the rule of its signals, and the addresser that it needs.
KINDS = {"-".join(("selftest", *[cell] * (cell != GRU.name), *[rule] * (rule != RULES[0]))): (cell, rule, ADDRESSERS[0])
         for rule in RULES for cell in CELLS}
KINDS |= {"-".join(("selftest", addresser, *[rule] * (rule != RULES[0]))): (UNIT.name, rule, addresser)
          for rule in RULES for addresser in ADDRESSERS[1:]}
# Models by kind and number of layers, written by `python -m tidegate.golden.selftest`.
PATHS = {(kind, layers): Path(__file__).with_name(f"{kind}-{layers}.tidegate")
         for kind in KINDS for layers in range(1, USUAL_LAYERS + 1)}
# entries of its card: {"logits": (T, classes), "events": (T, signals)}; with convolutions also {"taps": of each frame
# and signal, for each convolution that hears it, the positions of its output that the events reach}; and "frames"
MODES = {"delta": "sparse mode", "dense": "dense mode"}
STEPS = ("identify", "link", "memory", "reset", "golden", "stop")
REGISTER = "THETA0"             # any value will do while there is no model
_PATTERNS, _LONG_PACKETS = 256, 64
_TIMEOUT = 2.0                  # seconds until a request is repeated: a busy host must not look like a bad cable


@dataclass(frozen=True)
class Step:
    """``name``; whether it ``passed``; what was ``seen``, one line, with what to do if it failed; ``seconds`` taken."""

    name: str
    passed: bool
    seen: str
    seconds: float


class SelfTestError(BoardError):
    """A board that answers but does not do what it should."""


def checklist(open_board: Callable[[], Board], seed: int = 1, progress: Progress | None = None) -> Iterator[Step]:
    """Open a board, go through the steps and close it; a Step that failed is the last.

    ``seed``: of patterns and weights.  ``progress(done, total)`` is called in the memory test.
    """
    board, repeats = None, 0
    try:
        for name in STEPS:
            start = time.monotonic()
            try:
                if board is None:
                    board = open_board()
                    board.link.timeout = _TIMEOUT
                seen, passed = _check(name, board, seed, progress), True
                if more := board.link.counters.repeats - repeats:
                    seen, repeats = f"{seen}; {more} requests had to be repeated", repeats + more
            except TidegateError as error:
                seen, passed = str(error), False
            yield Step(name, passed, seen, time.monotonic() - start)
            if not passed:
                return
    finally:
        if board is not None:
            board.close()


def _check(name: str, board: Board, seed: int, progress: Progress | None) -> str:
    match name:
        case "identify":
            return _identify(board)
        case "link":
            return _link(board, seed)
        case "memory":
            return check_memory(board, seed, progress)
        case "reset":
            return _reset(board)
        case "golden":
            return _golden(board)
        case _:
            return _stop(board)


def _identify(board: Board) -> str:
    d = board.design
    return (f"{d.lanes} lanes, {d.weight_bytes // 1024} kB of weights, {d.features} features, {d.neurons} neurons, "
            f"{d.classes} classes; core {board.identity.digest.hex()}")


def _link(board: Board, seed: int) -> str:
    bits, before = BY_NAME[REGISTER].bits, astuple(board.link.counters)
    board.write_register("LAYERS", 0)
    kept = board.read_register(REGISTER)
    walking = [1 << k for k in range(bits)]
    draw = Random(seed)
    patterns = [*walking, *((1 << bits) - 1 - w for w in walking)]
    patterns += [draw.getrandbits(bits) for _ in range(_PATTERNS - len(patterns))]
    for value in patterns:
        board.write_register(REGISTER, value)
        got = board.read_register(REGISTER)
        if got != value:
            raise SelfTestError(f"register {REGISTER} gave back 0x{got:04x} where 0x{value:04x} was written; {RELOAD}")
    board.write_register(REGISTER, kept)
    long = min(board.design.payload - 4, board.design.weight_bytes)
    for _ in range(_LONG_PACKETS):
        board.link.request(Request.WRITE_WEIGHTS, struct.pack("<I", 0) + draw.randbytes(long))
    repeats, damaged, _ = (now - then for now, then in zip(astuple(board.link.counters), before, strict=True))
    if repeats or damaged:
        count = 2 * len(patterns) + _LONG_PACKETS
        raise SelfTestError(f"{repeats} of {count} requests had to be repeated, {damaged} answers were damaged; "
                            "try another cable, no hub, and end other users of the port")
    return (f"{len(patterns)} patterns through register {REGISTER} and {_LONG_PACKETS} long packets: "
            "none lost, none damaged")


def models_for(design: Design) -> dict[str, Model | None]:
    """Of each kind that a board's cells, rules and addressers allow, the deepest model that fits it, or None.

    SelfTestError if none fits at all.
    """
    found: dict[str, Model | None] = {}
    for kind, (cell, rule, addresser) in KINDS.items():
        if cell in design.cells and rule in design.rules and addresser in design.addressers:
            models = (read_model(PATHS[kind, layers]) for layers in reversed(range(1, USUAL_LAYERS + 1)))
            found[kind] = next((m for m in models if Layout(m.network, design, check=False).refusal() is None), None)
    if not any(found.values()):
        raise SelfTestError("this board is too small for the smallest model of the self-test; build it larger")
    return found


def _models(board: Board) -> Iterator[tuple[Model, np.ndarray]]:
    """The models for a board, each of which is then on it, and its frames: SIGNAL integers (T, features)."""
    for model in models_for(board.design).values():
        if model is not None:
            board.load(model)
            yield model, np.array(model.card["frames"], np.int16)


def _title(model: Model) -> str:
    """As "4 GRU layers with delta"."""
    layers, rules = model.network.layers, model.network.rules
    what = "convolutional" if layers[0].conv else layers[0].cell.title
    return f"{len(layers)} {what} layer{'s' * (len(layers) > 1)} with {'diffuse' if rules else 'delta'}"


def _reset(board: Board) -> str:
    count = 0
    for model, frames in _models(board):
        first = list(board.stream(frames))
        went_on = list(board.stream(frames, reset=False))
        if _logits(went_on) == _logits(first):
            raise SelfTestError(f"{_title(model)}: frames leave nothing behind: without a reset the same ones give the "
                                f"same logits again; {RELOAD}")
        board.reset()
        if frame := board.read_register("FRAMES"):
            raise SelfTestError(f"after a reset the board counts {frame} frames, not 0; {RELOAD}")
        again = list(board.stream(frames))
        if again != first:
            t = next(t for t, (a, b) in enumerate(zip(first, again, strict=True)) if a != b)
            raise SelfTestError(f"{_title(model)}: after a reset the same frames give other results, first in frame "
                                f"{t}; {RELOAD}")
        count += len(frames)
    return f"{count} frames twice, with a reset between them: the same results"


def _logits(results: list[FrameResult]) -> list[tuple[int, ...]]:
    return [r.logits for r in results]


def _golden(board: Board) -> str:
    seen, count = [], 0
    for model, frames in _models(board):
        for mode, words in MODES.items():
            board.dense = mode == "dense"
            for t, result in enumerate(board.stream(frames)):
                _compare(board, model.card[mode], f"{_title(model)}, {words}, frame {t}", t, result)
        board.dense = False
        seen.append(_title(model))
        count += len(frames)
    lacking = [" with ".join(name for name in KINDS[kind] if name != ADDRESSERS[0])
               for kind, model in models_for(board.design).items() if model is None]
    small = f"; the board is too small for the models of {', '.join(lacking)}" if lacking else ""
    return (f"{', '.join(seen)}; {count} frames in {' and in '.join(MODES.values())}: all logits, events and weight "
            f"words are golden's{small}")


def _compare(board: Board, expected: dict, where: str, t: int, result: FrameResult) -> None:
    layout = board.layout
    assert layout is not None
    events = expected["events"][t]
    words = sum(n * column.length for s, (n, column) in enumerate(zip(events, layout.columns, strict=True))
                if not layout.network.convolves(s))
    words += sum(taps * column.each for s, heard in enumerate(expected["taps"][t] if "taps" in expected else ())
                 for taps, (_, column) in zip(heard, layout.images(s), strict=True))
    for what, got, wanted in (("events of signal {}", result.events, events),
                              ("number of weight words", (result.weight_words,), (words,)),
                              ("logit {}", result.logits, expected["logits"][t])):
        for k, (is_now, should_be) in enumerate(zip(got, wanted, strict=True)):
            if is_now != should_be:
                raise SelfTestError(f"{where}: {what.format(k)} is {is_now}, golden says {should_be}; {RELOAD}")


def stop_rules(logits: np.ndarray) -> list[Stop]:
    """Rules that, on logits (T, classes), tell a stop unit that is off by one LSB, class or frame from a sound one."""
    lead, best = leads(logits)
    median = int(np.median(lead))
    first = int(np.argmax(lead > median))
    return [Stop(int(lead[first]) - 1), Stop(int(lead[first])), Stop(median, hold=first + 1),
            Stop(median, classes=int(best[first])), Stop(median, hold=3, stream=True),
            *_telling(logits, (Stop(m, h, stream=True) for h in range(1, 9) for m in sorted(lead.tolist())), ("hold",)),
            *(rule for smooth in range(1, SMOOTH_MAX + 1) for rule in _listening_rules(logits, smooth))]


def _listening_rules(logits: np.ndarray, smooth: int) -> list[Stop]:
    """Rules for streams that smooth, each with a margin and a release that a lead meets or misses by one LSB."""
    lead, _ = best_two(Decider(Stop(0, smooth=smooth)).smooth(logits >> STOP_SHIFT))
    margin, release = (int(np.partition(lead, len(lead) * part // 8)[len(lead) * part // 8]) for part in (4, 2))
    levels = sorted({int(x) for x in lead})
    candidates = (Stop(m, 0, stream=True, smooth=smooth, release=r) for m in levels for r in levels if r < m)
    return [*(Stop(max(0, margin - down), 2 * down, stream=True, smooth=smooth, release=max(0, release - down))
              for down in (0, 1)), *_telling(logits, candidates, ("release",))]


def _telling(logits: np.ndarray, candidates: Iterable[Stop], fields: tuple[str, ...]) -> list[Stop]:
    """Of the candidates the first with which one more, and the first with which one less, in a field would decide
    otherwise on these logits."""
    found: list[Stop] = []
    wanted = [(field, step) for field in fields for step in (1, -1)]
    for rule in candidates:
        for field, step in list(wanted):
            value = getattr(rule, field) + step
            if not 0 <= value <= (rule.margin if field == "release" else value):
                continue
            if not np.array_equal(decisions(logits, rule), decisions(logits, replace(rule, **{field: value}))):
                wanted.remove((field, step))
                found += [rule] * (rule not in found)
        if not wanted:
            break
    return found


def _stop(board: Board) -> str:
    model, frames = next(_models(board))
    logits = np.array(model.card["delta"]["logits"])
    rules, count = stop_rules(logits), 0
    for rule in rules:
        expected = decisions(logits, rule).tolist()
        there = [t for t, label in enumerate(expected) if label != UNDECIDED]
        if there and not rule.stream:
            del expected[there[0] + 1 :]        # frames that are not run
        board.stop = rule
        got = [r.label_index if r.decided else UNDECIDED for r in board.stream(frames)]
        rest = frames[board.read_register("FRAMES") :]      # what the driver did not send, as it was decided
        got += [UNDECIDED for _ in board.stream(rest, reset=False)]
        board.stop = None
        if got != expected:
            t = next(t for t, (a, b) in enumerate(zip_longest(got, expected)) if a != b)
            now, wanted = (_word(run[t:]) for run in (got, expected))
            raise SelfTestError(f"stop rule {rule.to_dict()}, frame {t}: {now}, golden says {wanted}; {RELOAD}")
        count += len(there)
    return f"{len(rules)} stop rules on these frames: all {count} decisions are golden's, and no frame after one is run"


def _word(decisions: list[int]) -> str:
    """What a frame, the first of those that were run from here on, has decided."""
    if not decisions:
        return "it is not run"
    return "no decision" if decisions[0] == UNDECIDED else f"class {decisions[0]} is decided"
