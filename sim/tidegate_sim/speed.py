"""How fast the tools are on this machine: virtual board, golden model, training step."""

import os
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tidegate import zoo
from tidegate.clips import clips
from tidegate.host.audio import read_audio
from tidegate.host.board import Board
from tidegate.host.features import settings_of
from tidegate.host.frontend import FrontEnd
from tidegate.spec.model import Model

MODEL = "commands"
TARGET_RATE = 100               # frames/s, of which the virtual board is to do a multiple
BATCH, STEPS, INPUTS, HIDDEN = 64, 62, 40, 128          # of a training step
_UTTERANCES, _GOLDEN_BATCH = 1024, 256


def machine() -> str:
    """Processor and cores of this machine."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        fields = dict(line.split(":", 1) for line in cpuinfo.read_text(encoding="utf-8").splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        name = fields.get("model name", name)
    return f"{name}, {_cores()} cores"


def measure_tools() -> dict:
    """All figures; a minute or so."""
    return {"machine": machine(), "virtual_board": virtual_board(), "golden": golden(),
            "training_step": training_step()}


def virtual_board(lanes: int = 64) -> dict:
    """Frames a second of a model on the bundled clips through driver, pseudo-terminal, link and core."""
    model, sounds = _sounds()
    frames = [model.quantise(FrontEnd(settings_of(model)).accept(samples)) for samples in sounds]
    with Board.open("virtual", lanes=lanes) as board:
        board.load(model)
        start = time.perf_counter()
        count = sum(1 for clip in frames for _ in board.stream(clip))
        rate = count / (time.perf_counter() - start)
    return {"model": MODEL, "lanes": lanes, "frames": count, "frames_per_second": rate, "target_rate": TARGET_RATE,
            "times_target": rate / TARGET_RATE}


def golden() -> dict:
    """One-second utterances a second that golden evaluates: with features ready, and from samples."""
    from tidegate.golden import Golden

    model, sounds = _sounds()
    judge, settings = Golden(model), settings_of(model)
    sounds = [np.resize(sounds[k % len(sounds)], settings.sample_rate) * 0.99**k for k in range(_UTTERANCES)]

    def features(samples: np.ndarray) -> np.ndarray:
        return model.quantise(FrontEnd(settings).accept(samples))

    def evaluate(frames: list[np.ndarray]) -> None:
        for start in range(0, len(frames), _GOLDEN_BATCH):
            judge.run(np.stack(frames[start : start + _GOLDEN_BATCH], 1))

    with ThreadPoolExecutor(_cores()) as pool:
        ready = list(pool.map(features, sounds))
        evaluate(ready[:_GOLDEN_BATCH])         # warm up

        def seconds(work) -> float:
            return statistics.median(_time(work) for _ in range(3))

        evaluation = seconds(lambda: evaluate(ready))
        everything = seconds(lambda: evaluate(list(pool.map(features, sounds))))
    return {"model": MODEL, "utterances": len(sounds), "frames_each": len(ready[0]), "batch": _GOLDEN_BATCH,
            "utterances_per_second": len(sounds) / evaluation,
            "utterances_per_second_with_features": len(sounds) / everything}


def training_step(repeats: int = 60) -> dict:
    """Forward and backward of one delta-GRU layer, with and without its kernel in C, beside torch.nn.GRU of the same
    size, in turn; medians."""
    import torch

    from tidegate.golden import kernel
    from tidegate.golden.network import DeltaLayer
    from tidegate.spec.formats import SIGNAL

    torch.manual_seed(0)
    mine, theirs = DeltaLayer(INPUTS, HIDDEN, 7), torch.nn.GRU(INPUTS, HIDDEN)
    real = torch.randn(STEPS, BATCH, INPUTS)
    anchors = torch.round(real * (1 << SIGNAL.frac)).clamp(-SIGNAL.max, SIGNAL.max)
    weight = torch.randn(STEPS, BATCH, HIDDEN)

    def step(module, output) -> float:
        module.zero_grad()
        return _time(lambda: (output() * weight).sum().backward())

    def turn() -> tuple[float, float, float]:
        ours = step(mine, lambda: mine(anchors, 64)[0])
        with kernel.switched_off():
            plain = step(mine, lambda: mine(anchors, 64)[0])
        return ours, plain, step(theirs, lambda: theirs(real)[0])

    for _ in range(5):
        turn()
    ours, plain, torchs = (statistics.median(times) for times in zip(*(turn() for _ in range(repeats)), strict=True))
    return {"size": f"batch {BATCH}, {STEPS} frames, {INPUTS} features, H = {HIDDEN}",
            "threads": torch.get_num_threads(), "repeats": repeats,
            "milliseconds": 1e3 * ours, "without_kernel_milliseconds": 1e3 * plain,
            "torch_milliseconds": 1e3 * torchs, "ratio": ours / torchs}


def _sounds() -> tuple[Model, list[np.ndarray]]:
    model = zoo.load(MODEL)
    return model, [read_audio(clip.path, settings_of(model).sample_rate) for clip in clips()]


def _time(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _cores() -> int:
    return len(os.sched_getaffinity(0))
