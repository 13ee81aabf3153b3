"""Golden against RTL, or a board's netlist, on real frames, integer by integer, through the driver and the link.

Compared in every frame: the events of every signal, the weight words read, and every logit; of RTL also, for every
layer and neuron, the four accumulator copies that reach the cell (r_arg, z_arg, nx, nh) and the new state h.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tidegate.host.audio import AudioError, read_audio
from tidegate.host.board import Board
from tidegate.host.features import settings_of
from tidegate.host.frontend import FrontEnd, FrontEndSettings
from tidegate.host.transport import SerialTransport
from tidegate.spec.boards import board_spec
from tidegate.spec.design import SIMULATED
from tidegate.spec.errors import TidegateError
from tidegate.spec.formats import BIAS_MAX
from tidegate.spec.layout import Layout
from tidegate.spec.model import Model, expected_tensors
from tidegate.spec.network import Layer, Network
from tidegate.spec.packets import result_dtype

from .trace import Mismatch, Run, compare, golden_run, read_trace, weight_words

if TYPE_CHECKING:
    from .netlist import NetlistBoard


def default_thresholds(model: Model) -> list[tuple[int, ...]]:
    """Θ = 0, the model's own Θ, and a large Θ (four times its own, at least 1/4)."""
    own = model.network.thresholds
    return list(dict.fromkeys([(0,) * len(own), own, tuple(max(4 * t, 64) for t in own)]))


def random_model(features: int, sizes: Sequence[int], classes: int, seed: int, extreme: bool) -> Model:
    """A network of random integers; ``extreme``: every weight is -128 or 127, biases fill their range.

    It hears log-mel features of 16 kHz sound like a trained model.
    """
    rng = np.random.default_rng(seed)
    network = Network(features, tuple(Layer(s) for s in sizes), Layer(classes), (64,) + (16,) * len(sizes))
    tensors = {}
    for name, (dtype, shape) in expected_tensors(network).items():
        if dtype == np.int8:
            spread = rng.choice([-128, 127], shape) if extreme else np.clip(rng.normal(0, 40, shape), -127, 127)
            tensors[name] = np.round(spread).astype(dtype)
        elif dtype == np.int32:
            limit = BIAS_MAX if extreme else BIAS_MAX // 8
            tensors[name] = rng.integers(-limit, limit + 1, shape, dtype=dtype)
        else:
            # about the mean and spread of the logarithm of speech's mel energies
            tensors[name] = np.full(shape, -3.0 if name.endswith("mean") else 0.4, dtype)
    frontend = FrontEndSettings(bands=features).to_dict()
    return Model(network, tensors, tuple(f"class {c}" for c in range(classes)), frontend)


def verify(model: Model, clips: Iterable[np.ndarray], lanes: Sequence[int] = (64,),
           thresholds: Sequence[Sequence[int]] | None = None,
           progress: Callable[[int, int], None] | None = None) -> dict:
    """Run every clip on golden and on the virtual board and compare.

    ``clips``: arrays (frames, features) of SIGNAL integers; each starts from reset.  ``lanes``: virtual boards.
    ``thresholds``: settings of Θ, one value per signal each; see ``default_thresholds``.  ``progress`` is called
    with (frames done, frames in all).

    TidegateError if the RTL's integers cannot be told apart: another number of them than golden's, or another order.

    Gives ``{"against", "frames", "integers", "mismatches", "lanes", "thresholds", "first_mismatch"}``: frames and
    integers compared over all settings, and the number of integers that differ.
    """
    clips = list(clips)
    settings = [tuple(t) for t in thresholds] if thresholds is not None else default_thresholds(model)
    each = sum(len(clip) for clip in clips)
    total, done, integers, mismatches, first = each * len(lanes) * len(settings), 0, 0, 0, None
    for theta in settings:
        golden = golden_run(model.with_thresholds(*theta), clips)
        for p in lanes:
            layout = Layout(model.network, SIMULATED[p])
            golden[None, "weight words"] = weight_words(layout, golden[None, "events"])

            def step(frames: int, before=done) -> None:
                if progress:
                    progress(before + frames, total)

            rtl = _rtl(model.with_thresholds(*theta), clips, p, step)
            count, found = compare(golden, rtl, p, theta)
            mismatches, first, done = mismatches + count, first or found, done + each
            integers += sum(values.size for values in golden.values())
    return _report("rtl", done, integers, mismatches, lanes, settings, first)


def verify_netlist(model: Model, clips: Iterable[np.ndarray], name: str, lanes: int | None = None,
                   thresholds: Sequence[Sequence[int]] | None = None,
                   progress: Callable[[int, int], None] | None = None, netlist: "NetlistBoard | None" = None) -> dict:
    """Run every clip on golden and on the netlist of the board ``name`` and compare; see ``verify``.

    ``lanes``: which of the board's designs.  ``progress`` is called with bytes on the line.  ``netlist``: one that
    runs, in place of the board's.  Gives ``board``, ``cycles`` and ``seconds`` (simulated; the time that took) besides.
    TidegateError, before anything is built, if there is no such board or the model does not fit.
    """
    clips = list(clips)
    settings = [tuple(t) for t in thresholds] if thresholds is not None else default_thresholds(model)
    design = netlist.design if netlist else board_spec(name).design(lanes)
    layout = Layout(model.network, design)
    from .netlist import NetlistBoard

    each = sum(map(len, clips)) * (2 * model.network.features + result_dtype(model.network.classes).itemsize)
    total = layout.pack(model).size + len(settings) * each
    say = progress or (lambda done, total: None)
    integers, mismatches, first = 0, 0, None
    with netlist or NetlistBoard(name, design) as running:
        # a byte on the line of a whole board takes 240 cycles, and a second is some 200,000 of them, or much fewer
        with Board(SerialTransport(running.port), timeout=60, patience=600) as board:
            board.load(model, lambda done, _: say(done, total))
            for k, theta in enumerate(settings):
                board.thresholds(*theta)
                run = _streamed(board, clips)
                golden = {key: values for key, values in golden_run(model.with_thresholds(*theta), clips).items()
                          if key in run}
                golden[None, "weight words"] = weight_words(layout, golden[None, "events"])
                count, found = compare(golden, run, design.lanes, theta, f"the netlist of {name}")
                mismatches, first = mismatches + count, first or found
                integers += sum(values.size for values in golden.values())
                say(total - (len(settings) - 1 - k) * each, total)
    frames = len(settings) * sum(map(len, clips))
    return _report("netlist", frames, integers, mismatches, [design.lanes], settings, first) | {
        "board": name, "cycles": running.cycles, "seconds": running.seconds}


def _report(against: str, frames: int, integers: int, mismatches: int, lanes: Sequence[int],
            settings: Sequence[Sequence[int]], first: Mismatch | None) -> dict:
    return {
        "against": against, "frames": frames, "integers": integers, "mismatches": mismatches, "lanes": list(lanes),
        "thresholds": [list(t) for t in settings],
        "first_mismatch": {**asdict(first), "text": str(first)} if first else None,
    }


def _streamed(board: Board, clips: list[np.ndarray], step: Callable[[int], None] = lambda done: None) -> Run:
    """What a board answers to clips; ``step`` is called with the number of frames after each clip."""
    results = []
    for clip in clips:
        results += board.stream(clip)
        step(len(results))
    return {(None, "events"): np.array([r.events for r in results]),
            (None, "logits"): np.array([r.logits for r in results]),
            (None, "weight words"): np.array([[r.weight_words] for r in results])}


def _rtl(model: Model, clips: list[np.ndarray], lanes: int, step: Callable[[int], None]) -> Run:
    with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
        trace = Path(folder) / "trace"
        with Board.open("virtual", lanes=lanes, trace=trace) as board:
            board.load(model)
            run = _streamed(board, clips, step)
        return run | read_trace(trace, Layout(model.network, SIMULATED[lanes]), sum(map(len, clips)))


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
