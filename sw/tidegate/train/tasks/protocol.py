"""The protocol of a task: it loads examples, makes batches, has a loss, turns logits into answers, and scores these."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from tidegate.spec.model import Model
from tidegate.spec.readout import Readout
from tidegate.spec.tokens import Tokens

from ..data.augment import Batch
from ..recipe import Recipe
from .primary import Primary

Loss = Callable[[Tensor, Batch, int], Tensor]
BatchMaker = Callable[[Tensor, torch.Generator], Batch]


class Examples(Protocol):
    """What a task loads: n examples, each of some frames, and each in one part of ``ALL_PARTS``.

    Training and judging read nothing else.  A network has ``width`` inputs and one output per label.
    """

    @property
    def task(self) -> str:
        """Name of the task that loaded the examples and scores them."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of each output of the network: of classes, if the task has classes."""
        ...

    @property
    def width(self) -> int:
        """Values per frame."""
        ...

    @property
    def offsets(self) -> np.ndarray:
        """(n + 1,) integers: example i has ``offsets[i + 1] - offsets[i]`` frames, at least 1."""
        ...

    @property
    def targets(self) -> np.ndarray:
        """(n, ...): the right answer to each example, in the form that the task's loss and metrics take.  Empty,
        in examples that are only judged, if nobody knows the answers."""
        ...

    @property
    def parts(self) -> np.ndarray:
        """(n,) indices into ``ALL_PARTS``."""
        ...

    @property
    def content(self) -> np.ndarray:
        """The array from which the frames are made; a run may only be resumed on the same content."""
        ...

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """(path, reason) of each recording that cannot be used."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the data, one line each."""
        ...

    def of(self, part: str) -> np.ndarray:
        """Numbers of the examples in a part."""
        ...

    def frames(self, i: int) -> np.ndarray:
        """(frames, width) float32 of example i, before the normalisation."""
        ...

    def normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, scale) float32 (width,): a model takes (frames − mean)·scale, rounded to LSBs of 1/256."""
        ...


E = TypeVar("E", bound=Examples)


class Task(Protocol[E]):
    """A task on examples of the type E.  Trainer, judge and verbs call these members and know no task by its name."""

    @property
    def name(self) -> str:
        """What a recipe calls the task."""
        ...

    @property
    def primary(self) -> Primary:
        """The figure that chooses the best epoch."""
        ...

    def load(self, recipe: Recipe, directory: str | Path | None, *, cache: str | Path | None = None,
             progress: bool = False, speaker: str = "") -> E:
        """The examples to train on.

        ``directory``: the user's data, or None.  ``cache``: folder for what takes long to make (None: the default).
        ``speaker``: all examples by this speaker go to the test part.  DataError if the data cannot be used, or if
        recipe or speaker ask for something that the task does not have.
        """
        ...

    def load_to_judge(self, model: Model, directory: str | Path | None, part: str | None, *,
                      cache: str | Path | None = None, progress: bool = False, speaker: str = "") -> E:
        """The examples to judge a model on; ``part`` is what the user asks for (None: the default).

        The labels are the model's.  A part may be empty.  DataError if the data do not fit the model.
        """
        ...

    def survey(self, examples: E) -> dict[str, Any]:
        """A summary of the data (such as clips per class and part), as JSON; it may be empty."""
        ...

    def lines(self, examples: E) -> list[str]:
        """The summary as lines of text, which are printed when training begins."""
        ...

    def front_end(self, recipe: Recipe) -> dict[str, Any]:
        """The feature front end that goes into the model file; {} if frames do not come from sound."""
        ...

    def readout(self, examples: E) -> Readout | Tokens | None:
        """Which numbers the logits stand for, or how strings are made of them; None if the outputs are classes."""
        ...

    def batches(self, recipe: Recipe, examples: E, mean: np.ndarray, scale: np.ndarray) -> BatchMaker:
        """A function that makes a batch of (numbers of examples (B,), generator), in training.

        ``mean``, ``scale`` (width,): as ``Examples.normalisation`` gives them, or those of the model to begin with.
        All chance comes from the generator.
        """
        ...

    def loss(self, recipe: Recipe, examples: E, train: np.ndarray, device: torch.device) -> Loss:
        """A function that makes a scalar loss of (logits, batch, frames).

        ``logits`` (T, B, outputs) are in real units; ``batch.decisions`` has the targets; ``frames``: the
        loss is the mean over this many frames up to each decision.  ``train``: numbers of the examples in an epoch; an
        example that comes several times is listed as often.  ``device``: where the logits are.
        """
        ...

    def answers(self, model: Model, logits: np.ndarray, last: np.ndarray, early: bool) -> Iterable[Any]:
        """What a board answers to each of B examples, from the integers that it computes.

        ``logits`` (T, B, outputs) int32 in LSBs of the accumulator; ``last`` (B,): the last frame of each example, or
        with ``early`` the frame in which the model's stop rule is met; later frames are padding.
        """
        ...

    def metrics(self, labels: tuple[str, ...], targets: np.ndarray, answers: Sequence[Any]) -> dict[str, Any]:
        """Figures of n answers to n targets, as JSON; one of them has the name of ``primary``."""
        ...
