"""Golden against RTL on real frames, integer by integer, through the driver, the link and the virtual board.

Compared in every frame: for every layer and neuron the four accumulator copies that reach the cell (r_arg, z_arg,
nx, nh) and the new state h; then the events of every signal, the weight words read, and every logit.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tidegate.host.audio import AudioError, read_audio
from tidegate.host.board import Board
from tidegate.host.features import settings_of
from tidegate.host.frontend import FrontEnd, FrontEndSettings
from tidegate.spec.design import SIMULATED
from tidegate.spec.errors import TidegateError
from tidegate.spec.formats import BIAS_MAX
from tidegate.spec.layout import Layout
from tidegate.spec.model import Model, expected_tensors
from tidegate.spec.network import Layer, Network

from .trace import Run, compare, golden_run, read_trace, weight_words


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

    Gives ``{"frames", "mismatches", "lanes", "thresholds", "first_mismatch"}``: frames compared over all settings,
    and the number of integers that differ.
    """
    clips = list(clips)
    settings = [tuple(t) for t in thresholds] if thresholds is not None else default_thresholds(model)
    each = sum(len(clip) for clip in clips)
    total, done, mismatches, first = each * len(lanes) * len(settings), 0, 0, None
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
    return {
        "frames": done, "mismatches": mismatches, "lanes": list(lanes),
        "thresholds": [list(t) for t in settings],
        "first_mismatch": {**asdict(first), "text": str(first)} if first else None,
    }


def _rtl(model: Model, clips: list[np.ndarray], lanes: int, step: Callable[[int], None]) -> Run:
    layout = Layout(model.network, SIMULATED[lanes])
    events, logits, words, done = [], [], [], 0
    with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
        trace = Path(folder) / "trace"
        with Board.open("virtual", lanes=lanes, trace=trace) as board:
            board.load(model)
            for clip in clips:
                for result in board.stream(clip):
                    events.append(result.events)
                    logits.append(result.logits)
                    words.append(result.weight_words)
                done += len(clip)
                step(done)
        run = read_trace(trace, layout, done)
    run[None, "events"] = np.array(events)
    run[None, "logits"] = np.array(logits)
    run[None, "weight words"] = np.array(words)[:, None]
    return run


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
