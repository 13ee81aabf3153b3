"""Tasks on arrays: to tell apart sequences of one length that do not come from sound."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.spec.model import Model

from ..data.sequences import Sequences
from ..errors import DataError
from ..recipe import Recipe
from .classify import Classifier
from .protocol import BatchMaker


@dataclass(frozen=True)
class ArrayTask(Classifier[Sequences]):
    """The task of telling which class a sequence belongs to.

    ``read``: makes the sequences from the user's folder or from None; DataError if it cannot.  Their ``task`` is
    replaced by this task's name.
    """

    name: str
    read: Callable[[str | Path | None], Sequences]

    def load(self, recipe: Recipe, directory: str | Path | None, *, cache: str | Path | None = None,
             progress: bool = False, speaker: str = "") -> Sequences:
        if recipe.reject or recipe.keywords or recipe.leave_out:
            raise DataError(f"recipe '{recipe.name}': keywords, leave_out and reject are for words, and the task "
                            f"'{self.name}' has none; leave them out")
        return self._read(directory, speaker)

    def load_to_judge(self, model: Model, directory: str | Path | None, part: str | None, *,
                      cache: str | Path | None = None, progress: bool = False, speaker: str = "") -> Sequences:
        return self._read(directory, speaker)

    def _read(self, directory: str | Path | None, speaker: str) -> Sequences:
        if speaker:
            raise DataError(f"the task '{self.name}' has no speakers; leave '{speaker}' out")
        return replace(self.read(directory), task=self.name)

    def survey(self, examples: Sequences) -> dict[str, Any]:
        return {}

    def lines(self, examples: Sequences) -> list[str]:
        count = len(examples.of("train"))
        return [f"task {self.name}: {count} sequences of {examples.steps} frames to train"]

    def front_end(self, recipe: Recipe) -> dict[str, Any]:
        return {}

    def batches(self, recipe: Recipe, examples: Sequences, mean: np.ndarray, scale: np.ndarray) -> BatchMaker:
        return examples.batch
