"""A teacher: a float network of convolutions that is trained first, and from which a delta network then learns.

    features ─► conv over time and frequency, twice ─► mix ─► residual blocks, dilated in time ─► classifier

    loss of the student  =  its own  +  weight · T² · KL(softmax(teacher / T) ‖ softmax(student / T))

with the mean of KL over all frames
(Hinton et al. 2015, arXiv:1503.02531).  A convolution over frequency hears a word alike in voices that are higher or
lower, which a recurrent layer has to learn for each.  The teacher hears the same streams with the same loss and is
never shipped: it is floating point, and several times as large.  Everything in it looks back in time only.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tidegate.spec.formats import SIGNAL

from ..data.stream_options import Teaching
from ..data.streams import Chunk, Mined
from ..errors import DataError
from .checkpoint import read_state, write_state
from .listening import StreamLoss, mine

_DILATIONS = (1, 2, 4, 8, 1, 2, 4, 8)
_KERNEL, _WINDOW, _BANDS = 5, (5, 7), 5     # frames of a block; frames and bands of the first, bands of the second
FEWEST = _WINDOW[1] + 2 * (_BANDS - 1)      # bands that are enough for both
_CLIP, _DECAY, _DROPOUT, _RISE = 2.0, 0.02, 0.05, 0.15


class Chunks(Protocol):
    """What makes streams: a ``Mixer``."""

    def restart(self, rng: np.random.Generator) -> None: ...

    def chunk(self) -> Chunk: ...


class _Block(nn.Module):
    """(B, width, T) → (B, width, T − reach)."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.reach = (_KERNEL - 1) * dilation
        self.time = nn.Conv1d(width, width, _KERNEL, dilation=dilation, groups=width, bias=False)
        self.first, self.second = (nn.Conv1d(width, width, 1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(3))
        self.drop = nn.Dropout(_DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norms[1](self.first(self.norms[0](self.time(x)))))
        return torch.relu(x[..., self.reach :] + self.drop(self.norms[2](self.second(y))))


class Teacher(nn.Module):
    """Frames (B, T, bands) of features in real units → logits (B, T − context, classes): of each frame that has
    ``context`` frames before it."""

    def __init__(self, bands: int, classes: int, options: Teaching):
        super().__init__()
        maps, width = options.maps, options.width
        narrowed = ((bands - _WINDOW[1]) // 2 + 1 - _BANDS) // 2 + 1
        if narrowed < 1:
            raise DataError(f"a teacher needs {FEWEST} bands or more, the front end has {bands}; leave the teacher out")
        self.context = _WINDOW[0] - 1 + sum((_KERNEL - 1) * d for d in _DILATIONS)
        self.fine = nn.Conv2d(1, maps, _WINDOW, stride=(1, 2), bias=False)
        self.coarse = nn.Conv2d(maps, 2 * maps, (1, _BANDS), stride=(1, 2), bias=False)
        self.norms = nn.ModuleList((nn.BatchNorm2d(maps), nn.BatchNorm2d(2 * maps), nn.BatchNorm1d(width)))
        self.mix = nn.Conv1d(2 * maps * narrowed, width, 1, bias=False)
        self.blocks = nn.ModuleList(_Block(width, dilation) for dilation in _DILATIONS)
        self.classifier = nn.Conv1d(width, classes, 1)

    def forward(self, frames: Tensor) -> Tensor:
        x = torch.relu(self.norms[0](self.fine(frames[:, None])))
        x = torch.relu(self.norms[1](self.coarse(x)))
        x = torch.relu(self.norms[2](self.mix(x.transpose(2, 3).flatten(1, 2))))
        for block in self.blocks:
            x = block(x)
        return self.classifier(x).transpose(1, 2)


class Ear:
    """A teacher on chunks that follow each other: what a chunk's first frames need of the last one is kept.

    ``narrow``: compute in bfloat16.
    """

    def __init__(self, teacher: Teacher, narrow: bool):
        self.teacher, self.narrow = teacher, narrow
        self.past: Tensor | None = None

    def restart(self) -> None:
        """The next chunk begins all streams anew."""
        self.past = None

    def hear(self, chunk: Chunk, device: torch.device) -> Tensor:
        """Logits (T, B, classes) of a chunk."""
        frames = chunk.frames.to(device).transpose(0, 1) * 2.0**-SIGNAL.frac
        if self.past is None:
            self.past = frames.new_zeros(len(frames), self.teacher.context, frames.shape[2])
        self.past = self.past * torch.from_numpy(~chunk.fresh).to(frames)[:, None, None]
        whole = torch.cat([self.past, frames], 1)
        self.past = whole[:, -self.teacher.context :].clone()
        with torch.autocast(device.type, torch.bfloat16, enabled=self.narrow):
            logits = self.teacher(whole)
        return logits.float().transpose(0, 1)


def lesson(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T² times the mean of KL(softmax(teacher / T) ‖ softmax(student / T)) over frames; logits (..., classes)."""
    wanted, given = (torch.log_softmax(logits / temperature, -1) for logits in (teacher, student))
    return (wanted.exp() * (wanted - given)).sum(-1).mean() * temperature**2


def teacher_path(out: Path) -> Path:
    """What the teacher of a run for the model ``out`` is called; it is kept in a checkpoint of this name."""
    return out.with_name(out.name + ".teacher")


def trained_teacher(file: Path, options: Teaching, bands: int, classes: int, chunks: Chunks, loss_of: StreamLoss,
                    mined: Mined, seed: int, digest: str, device: torch.device,
                    told: Callable[[str], Any] = print) -> Teacher:
    """The teacher for a run: trained now, or read where ``file`` holds a finished one, or trained on where that was
    stopped.

    ``file`` is written after every epoch.  ``digest``: of what a teacher belongs to.  ``told``: called with a line per
    epoch.  DataError if the file belongs to something else, or if the training diverges.
    """
    torch.manual_seed(seed)
    teacher = Teacher(bands, classes, options).to(device)
    optimiser = torch.optim.AdamW(teacher.parameters(), weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.learning_rate, total_steps=max(options.epochs * options.chunks + 1, 20), pct_start=_RISE)
    begun = 0
    if file.is_file():
        state = read_state(file, digest, device)
        teacher.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        mined.speech[:], mined.words[:], begun = state["speech"], state["words"], state["epoch"]
        if begun == options.epochs:
            told(f"the teacher is in {file}")
    ear = Ear(teacher, options.bfloat16)
    for epoch in range(begun, options.epochs):
        started, total = time.monotonic(), 0.0
        torch.manual_seed(seed * 100_003 + epoch)
        chunks.restart(np.random.default_rng([seed, epoch, 1]))
        ear.restart()
        teacher.train()
        for _ in range(options.chunks):
            chunk = chunks.chunk()
            logits = ear.hear(chunk, device)
            loss = loss_of(logits, chunk.targets.to(device))
            if not math.isfinite(loss.item()):
                raise DataError(f"the loss of the teacher is {loss.item()}: its training has diverged; choose a lower "
                                "learning_rate of the recipe's teacher")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(teacher.parameters(), _CLIP)
            optimiser.step()
            schedule.step()
            mine(mined, chunk, logits.detach(), loss_of.keywords)
            total += loss.item()
        write_state(file, {"digest": digest, "epoch": epoch + 1, "network": teacher.state_dict(),
                           "speech": mined.speech, "words": mined.words,
                           "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()})
        told(f"teacher: epoch {epoch + 1:3}/{options.epochs}  loss {total / options.chunks:.3f}  "
             f"{time.monotonic() - started:.0f} s")
    return teacher.eval().requires_grad_(False)

