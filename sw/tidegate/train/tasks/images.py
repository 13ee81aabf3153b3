"""Tasks on images, whose number of frames the recipe chooses."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tidegate.spec.model import Model

from ..data.images import in_steps
from ..data.nmnist import load_nmnist
from ..data.sequences import Sequences
from ..recipe import Recipe
from .arrays import ArrayTask


@dataclass(frozen=True)
class ImageTask(ArrayTask):
    """The task of telling which class an image is: the recipe's ``steps`` and ``shift`` count."""

    def load(self, recipe: Recipe, directory: str | Path | None, **options: Any) -> Sequences:
        return in_steps(super().load(recipe, directory, **options), recipe.steps, recipe.shift)

    def load_to_judge(self, model: Model, directory: str | Path | None, part: str | None, **options: Any) -> Sequences:
        steps = model.card.get("recipe", {}).get("steps", 0)
        return in_steps(super().load_to_judge(model, directory, part, **options), steps)


@dataclass(frozen=True)
class EventTask(ArrayTask):
    """N-MNIST in as many frames as the recipe's ``steps``."""

    def load(self, recipe: Recipe, directory: str | Path | None, **options: Any) -> Sequences:
        return ArrayTask(self.name, partial(load_nmnist, steps=recipe.steps)).load(recipe, directory, **options)

    def load_to_judge(self, model: Model, directory: str | Path | None, part: str | None, **options: Any) -> Sequences:
        read = partial(load_nmnist, steps=model.card.get("recipe", {}).get("steps", 0))
        return ArrayTask(self.name, read).load_to_judge(model, directory, part, **options)
