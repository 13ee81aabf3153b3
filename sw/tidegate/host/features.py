"""From a recording to what a model takes: the model's own front end on a sound file."""

from pathlib import Path

import numpy as np

from ..spec.errors import TidegateError
from ..spec.model import Model
from ..zoo import load
from .audio import read_audio
from .frontend import FrontEnd, FrontEndSettings


def settings_of(model: Model) -> FrontEndSettings:
    """A model's front end; TidegateError if it has none, or one that does not fit its network."""
    if not model.frontend:
        raise TidegateError("this model has no feature front end, so it cannot hear sound; choose another")
    settings = FrontEndSettings.from_dict(model.frontend)
    if settings.bands != model.network.features:
        raise TidegateError(f"this model's front end gives {settings.bands} bands, its network takes "
                            f"{model.network.features} features; train it again")
    return settings


def features_of(model: Model | str | Path, path: str | Path) -> np.ndarray:
    """A recording as float32 features (frames, bands), for ``Board.stream`` or ``Model.quantise``.

    ``model``: one, or what ``load_model`` takes, such as "commands".  TidegateError if the recording cannot be read or
    is shorter than one frame.
    """
    if not isinstance(model, Model):
        model = load(model)
    settings = settings_of(model)
    frames = FrontEnd(settings).accept(read_audio(path, settings.sample_rate))
    if not len(frames):
        raise TidegateError(f"'{path}' is shorter than one frame of {settings.window_ms:g} ms; record it again")
    return frames
