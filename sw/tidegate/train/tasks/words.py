"""The task ``words``: recordings of words, one folder per word, heard through the front end."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.host.features import settings_of
from tidegate.spec.model import Model

from ..data.augment import Augmenter
from ..data.features import Features, load_features
from ..data.folders import SILENCE, UNKNOWN, leave_out, scan, scan_for
from ..data.split import ALL, with_test_part
from ..data.survey import survey, survey_lines
from ..errors import DataError, other_words
from ..recipe import Recipe
from .classify import Classifier


@dataclass(frozen=True)
class WordTask(Classifier[Features]):
    """Which word a clip is, where ``unknown`` and ``silence`` may be classes, too (``data.folders``)."""

    name: str = "words"

    def load(self, recipe: Recipe, directory: str | Path | None, *, cache: str | Path | None = None,
             progress: bool = False, speaker: str = "") -> Features:
        if directory is None:
            raise DataError(f"recipe '{recipe.name}' trains on a folder of words; give one")
        features = load_features(scan_for(recipe, directory, speaker), recipe.frontend, cache, progress)
        return replace(features, task=self.name)

    def load_to_judge(self, model: Model, directory: str | Path | None, part: str | None, *,
                      cache: str | Path | None = None, progress: bool = False, speaker: str = "") -> Features:
        """A model is judged on any clips of its words.  Not all words need be there, and other words may be, if the
        model has a class for them."""
        recipe = model.card.get("recipe", {})
        if directory is None:
            raise DataError("this model hears words; give a folder of them with --data")
        if not model.frontend:
            raise DataError("this model has no feature front end, so it cannot hear clips; give it .npy or .npz files "
                            "of frames, or a folder of nothing else")
        labels = tuple(label for label in model.labels if label not in (UNKNOWN, SILENCE))
        classes = {name: recipe.get(name, "folder") for name in (UNKNOWN, SILENCE)}
        if SILENCE not in model.labels:
            classes[SILENCE] = "none"
        data = scan(directory, labels, speaker, **classes, training=False)
        data = replace(data, clips=tuple(with_test_part(list(data.clips), recipe.get("test_share", 0.0))))
        there = {clip.folder for clip in data.clips if clip.label == UNKNOWN}
        data = leave_out(data, tuple(word for word in recipe.get("leave_out", ()) if word in there))
        if not set(data.labels) <= set(model.labels):       # before all is decoded
            raise other_words(model.labels, data.labels)
        own = tuple(clip for clip in data.clips if part != ALL or not Path(clip.path).is_absolute())  # no bundled ones
        data = replace(data, labels=tuple(model.labels), clips=own)
        features = load_features(data, settings_of(model), cache, progress, training=False)
        return replace(features, task=self.name)

    def survey(self, examples: Features) -> dict[str, Any]:
        return survey(examples)

    def lines(self, examples: Features) -> list[str]:
        return survey_lines(examples)

    def front_end(self, recipe: Recipe) -> dict[str, Any]:
        return recipe.frontend.to_dict()

    def batches(self, recipe: Recipe, examples: Features, mean: np.ndarray, scale: np.ndarray) -> Augmenter:
        return Augmenter(examples, recipe.augmentation, mean, scale)
