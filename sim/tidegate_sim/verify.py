"""Golden against RTL, or a board's netlist, on real frames, integer by integer, through the driver and the link.

Compared in every frame: the events of every signal, the weight words read, every logit, and the decision of a
rule for streams; of RTL also, for every layer and neuron, the integers inside the cell
(``stages`` of ``spec/cells.py``; of a GRU r_arg, z_arg, nx, nh and h).  Then the clips are sent once more, with a rule
for clips, and no frame after a decision may be run.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tidegate.host.audio import AudioError, read_audio
from tidegate.host.board import Board
from tidegate.host.features import settings_of
from tidegate.host.frame_result import FrameResult
from tidegate.host.frontend import FrontEnd
from tidegate.host.transport import SerialTransport
from tidegate.progress import Progress
from tidegate.spec.boards import board_spec
from tidegate.spec.design import Design, simulated
from tidegate.spec.errors import TidegateError
from tidegate.spec.layout import Layout
from tidegate.spec.model import Model
from tidegate.spec.packets import most_frames, result_dtype
from tidegate.spec.stop import MARGIN_MAX, STOP_SHIFT, Decider, Stop, best_two, leads

from .trace import Mismatch, Run, compare, decided, golden_run, golden_words, logits_of, read_trace, run_until_decided

if TYPE_CHECKING:
    from .netlist import NetlistBoard

_HELD = 1 << 23         # neurons times frames whose integers are held at once


def default_thresholds(model: Model) -> list[tuple[int, ...]]:
    """Θ = 0, the model's own Θ, and a large Θ (four times its own, at least 1/4)."""
    own = model.network.thresholds
    return list(dict.fromkeys([(0,) * len(own), own, tuple(max(4 * t, 64) for t in own)]))


def stop_of(model: Model, golden: Run) -> Stop | None:
    """A rule for clips to compare decisions by: the model's own, or a margin above which half of golden's frames lead,
    and a hold-off.

    None for a single class.
    """
    if model.network.classes < 2:
        return None
    if model.stop is not None:
        return model.stop
    lead, _ = leads(golden[None, "logits"])
    return Stop(min(int(np.median(lead)), MARGIN_MAX), hold=2)


def listening_of(model: Model, golden: Run, clips: Sequence[np.ndarray]) -> Stop | None:
    """A rule for streams to compare decisions by: the model's own, or one by which half of golden's frames are clear.

    That one smooths a little, has a release that is half the margin, and a hold-off.  None for a single class.
    """
    if model.network.classes < 2:
        return None
    if model.detector is not None:
        return model.detector
    rule = Stop(0, hold=2, stream=True, smooth=2)
    lead = np.concatenate([best_two(Decider(rule).smooth(logits >> STOP_SHIFT))[0]
                           for logits in logits_of(golden, clips)])
    margin = min(int(np.median(lead)), MARGIN_MAX)
    return replace(rule, margin=margin, release=margin // 2, classes=model.stop.classes if model.stop else None)


def verify(model: Model, clips: Iterable[np.ndarray], lanes: Sequence[int] = (64,),
           thresholds: Sequence[Sequence[int]] | None = None,
           progress: Progress | None = None, listening: Stop | None = None, memory: int = 1) -> dict:
    """Run every clip on golden and on the virtual board and compare.

    ``clips``: arrays (frames, features) of SIGNAL integers; each starts from reset.  ``lanes``: virtual boards,
    with so many times the usual ``memory``.
    ``thresholds``: settings of Θ, one value per signal each; see ``default_thresholds``.  ``progress`` is called
    with (frames done, frames in all).  ``listening``: the rule for streams, in place of ``listening_of``'s.

    TidegateError if the RTL's integers cannot be told apart: another number of them than golden's, or another order.

    Gives ``{"against", "frames", "integers", "mismatches", "decisions", "frames_not_run", "lanes", "thresholds",
    "first_mismatch"}``: frames and integers compared over all settings, the number of integers that differ, decisions
    in the first pass, and frames that the second did not run.
    """
    clips = list(clips)
    settings = [tuple(t) for t in thresholds] if thresholds is not None else default_thresholds(model)
    each = sum(len(clip) for clip in clips)
    total, done, tally = each * len(lanes) * len(settings), 0, _Tally()
    layouts = [Layout(model.network, simulated(p, memory)) for p in lanes]
    for theta, (first, part) in product(settings, _parts(model, clips)):
        turned, frames = model.with_thresholds(*theta), sum(len(clip) for clip in part)
        expected = _Expected(turned, part, listening)
        for p, words in zip(lanes, layouts, strict=True):
            def step(frames: int, before=done) -> None:
                if progress:
                    progress(before + frames, total)

            with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
                trace = Path(folder) / "trace"
                with Board.open("virtual", lanes=p, memory=memory, trace=trace) as board:
                    board.load(turned)
                    run = _streamed(board, part, expected.listening, step)
                run |= read_trace(trace, words, frames)
            golden = expected.streaming(words)
            tally.compare(golden, run, p, theta, before=first)
            tally.decided(golden)
            if expected.early is not None:
                with Board.open("virtual", lanes=p, memory=memory) as board:
                    board.load(turned)
                    run = _streamed(board, part, expected.early)
                tally.compare(expected.ending(words), run, p, theta, before=first)
            done += frames
    return tally.report("rtl", done, lanes, settings)


def _parts(model: Model, clips: list[np.ndarray]) -> list[tuple[int, list[np.ndarray]]]:
    """The clips, some at a time, with the number of frames before them: all integers of a large network's neurons in
    all frames would not fit into memory."""
    neurons, parts, before, held = sum(layer.size for layer in model.network.layers), [], 0, 0
    for clip in clips:
        size = len(clip) * neurons
        if not parts or held + size > _HELD:
            parts.append((before, []))
            held = 0
        parts[-1][1].append(clip)
        before, held = before + len(clip), held + size
    return parts or [(0, [])]


def verify_netlist(model: Model, clips: Iterable[np.ndarray], name: str, design: Design | None = None,
                   thresholds: Sequence[Sequence[int]] | None = None,
                   progress: Progress | None = None, netlist: "NetlistBoard | None" = None,
                   listening: Stop | None = None) -> dict:
    """Run every clip on golden and on the netlist of the board ``name`` and compare; see ``verify``.

    ``design``: None: the board's usual one.  ``progress`` is called with bytes on the line.  ``netlist``: one that
    runs, in place of the board's.  ``listening``: as for ``verify``.  Gives ``board``, ``cycles`` and ``seconds``
    (simulated; the time that took) besides.
    TidegateError, before anything is built, if there is no such board or the model does not fit.
    """
    clips = list(clips)
    settings = [tuple(t) for t in thresholds] if thresholds is not None else default_thresholds(model)
    design = netlist.design if netlist else design or board_spec(name).design()
    layout = Layout(model.network, design)
    from .netlist import NetlistBoard

    each = 2 * sum(map(len, clips)) * (2 * model.network.features + result_dtype(model.network.classes).itemsize)
    total = layout.pack(model).size + len(settings) * each
    say = progress or (lambda done, total: None)
    tally, what = _Tally(), f"the netlist of {name}"
    with netlist or NetlistBoard(name, design) as running:
        # a byte on the line of a whole board takes 240 cycles, and a second is some 200,000 of them, or much fewer
        with Board(SerialTransport(running.port), timeout=60, patience=600) as board:
            board.load(model, lambda done, _: say(done, total))
            for k, theta in enumerate(settings):
                board.thresholds(*theta)
                expected = _Expected(model.with_thresholds(*theta), clips, listening)
                run = _streamed(board, clips, expected.listening)
                golden = {key: values for key, values in expected.streaming(layout).items() if key in run}
                tally.compare(golden, run, design.lanes, theta, what)
                tally.decided(golden)
                say(total - (len(settings) - 1 - k) * each - each // 2, total)
                if expected.early is not None:
                    run = _streamed(board, clips, expected.early)
                    tally.compare(expected.ending(layout), run, design.lanes, theta, what)
                say(total - (len(settings) - 1 - k) * each, total)
    frames = len(settings) * sum(map(len, clips))
    return tally.report("netlist", frames, [design.lanes], settings) | {
        "board": name, "cycles": running.cycles, "seconds": running.seconds}


class _Expected:
    """Golden's integers of clips, for any lanes.

    ``listening``, ``early``: the rules that decisions follow, in streams and on clips; None for a single class.
    """

    def __init__(self, model: Model, clips: list[np.ndarray], listening: Stop | None = None):
        self.model, self.clips, self._golden = model, clips, golden_run(model, clips)
        self.listening = listening or listening_of(model, self._golden, clips)
        self.early = stop_of(model, self._golden)

    def streaming(self, layout: Layout) -> Run:
        """Every frame is run."""
        run = np.ones((len(self._golden[None, "logits"]), 1), np.int64)
        return self._all(layout, self.listening) | {(None, "run"): run}

    def ending(self, layout: Layout) -> Run:
        """None is after a decision."""
        assert self.early is not None
        return run_until_decided(self._all(layout, self.early), self.clips)

    def _all(self, layout: Layout, stop: Stop | None) -> Run:
        words = golden_words(self.model, layout, self.clips, self._golden)
        return self._golden | words | (decided(self._golden, self.clips, stop) if stop else {})


class _Tally:
    """Adds up comparisons."""

    def __init__(self):
        self.integers = self.mismatches = self.decisions = self.frames_not_run = 0
        self.first: Mismatch | None = None

    def compare(self, golden: Run, got: Run, lanes: int, theta: tuple[int, ...], against: str = "RTL",
                before: int = 0) -> None:
        """``before``: frames of all clips before these."""
        count, found = compare(golden, got, lanes, theta, against)
        if found is not None:
            found = replace(found, frame=before + found.frame)
        self.mismatches, self.first = self.mismatches + count, self.first or found
        skipped = int((golden[None, "run"] == 0).sum())
        self.frames_not_run += skipped
        # of a frame that is not run, nothing else is there to be compared
        self.integers += sum(values.size - skipped * (values.shape[1] - (key == (None, "run")))
                             for key, values in golden.items())

    def decided(self, golden: Run) -> None:
        """Count the decisions of a pass in which every frame is run."""
        self.decisions += int((golden.get((None, "decision"), np.zeros(0)) > 0).sum())

    def report(self, against: str, frames: int, lanes: Sequence[int], settings: Sequence[Sequence[int]]) -> dict:
        return {
            "against": against, "frames": frames, "integers": self.integers, "mismatches": self.mismatches,
            "decisions": self.decisions, "frames_not_run": self.frames_not_run, "lanes": list(lanes),
            "thresholds": [list(t) for t in settings],
            "first_mismatch": {**asdict(self.first), "text": str(self.first)} if self.first else None,
        }


def _streamed(board: Board, clips: list[np.ndarray], stop: Stop | None = None,
              step: Callable[[int], None] = lambda done: None) -> Run:
    """What a board answers to clips, all of whose frames it is sent; ``step`` is called with the number of frames after
    each clip.

    Frames that it does not run, after a decision, are 0 everywhere.
    """
    board.stop, parts, done = stop, [], 0
    network = board.model.network if board.model else None
    assert network is not None
    for clip in clips:
        values = np.zeros(len(clip), [("events", int, (network.signals,)), ("logits", int, (network.classes,)),
                                      *((name, int, (1,)) for name in ("weight words", "decision", "run"))])
        for r in chain(board.stream(clip), _rest(board, clip)):
            row = values[r.frame]
            row["events"], row["logits"], row["weight words"] = r.events, r.logits, r.weight_words
            row["decision"], row["run"] = (r.label_index + 1) * r.decided, 1
        parts.append(values)
        done += len(clip)
        step(done)
    run = np.concatenate(parts)
    names = [name for name in run.dtype.names or () if stop is not None or name != "decision"]
    return {(None, name): run[name] for name in names}


def _rest(board: Board, clip: np.ndarray) -> Iterator[FrameResult]:
    """Sends what the driver did not, as the clip was decided: what it is answered, of which there should be nothing."""
    network = board.model.network if board.model else None
    burst = most_frames(network.features, network.classes, layers=len(network.layers)) if network else 1
    for start in range(board.read_register("FRAMES"), len(clip), burst):
        yield from board.stream(clip[start : start + burst], reset=False)
    if (count := board.read_register("FRAMES")) != len(clip):
        raise TidegateError(f"the board counts {count} frames of a clip of {len(clip)}, run or not")


def one_stream(model: Model, clips: Sequence[np.ndarray], pause: int) -> np.ndarray:
    """Clips (T, features) joined, with ``pause`` frames of silence after each: integers (T, features)."""
    settings = settings_of(model)
    samples = np.zeros(settings.window + pause * settings.hop)
    silence = model.quantise(FrontEnd(settings).accept(samples))[:pause]
    return np.concatenate([part for clip in clips for part in (clip, silence)])


def speech_frames(model: Model, paths: Iterable[Path], frames: int) -> Iterator[np.ndarray]:
    """Feature frames of recordings, at least ``frames`` in all: integers (T, features) per recording.

    Recordings that cannot be read are left out.  When the recordings are used up they come again, each time 1.5 dB
    quieter and 37 samples later, so that no frame is repeated.
    """
    settings = settings_of(model)
    paths, done, again = list(paths), 0, 0
    while done < frames:
        before = done
        for path in paths:
            try:
                samples = read_audio(path, settings.sample_rate)[37 * again :] * 10 ** (-1.5 * again / 20)
            except AudioError:          # as in training: one damaged recording of many is left out
                continue
            clip = model.quantise(FrontEnd(settings).accept(samples))[: frames - done]
            if len(clip):
                done += len(clip)
                yield clip
            if done >= frames:
                return
        if done == before:
            raise TidegateError(f"no recording can be read and is as long as one frame of {settings.window_ms:g} ms; "
                                "give longer ones")
        again += 1
