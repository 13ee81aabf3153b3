"""Running the ``tidegate`` command as a user does, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
from models import random_model

from tidegate.host.frontend import FrontEndSettings
from tidegate.spec.model import Model, save_model

COMMAND = [sys.executable, "-m", "tidegate.cli"]


def tidegate(*arguments, timeout: float = 300, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                          env=os.environ | {"NO_COLOR": "1"}, **kwargs)


def fails(done: subprocess.CompletedProcess, text: str, code: int = 1) -> None:
    """Asserts: exit code, exactly one line on standard error, no traceback, nothing on standard output."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == code, done.stderr
    assert len(lines) == 1 and text in lines[0], done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


def speech_model(**kwargs) -> Model:
    """A random model that takes the features of the default front end."""
    settings = FrontEndSettings()
    model = random_model(features=settings.bands, **kwargs)
    return Model(model.network, model.tensors, model.labels, settings.to_dict())


def write_model(folder: Path, **kwargs) -> Path:
    path = folder / "model.tidegate"
    save_model(speech_model(**kwargs), path)
    return path


def write_sound(path: Path, seconds: float = 0.5, channels: int = 1, seed: int = 0) -> Path:
    noise = np.random.default_rng(seed).normal(0, 0.1, (int(16000 * seconds), channels))
    soundfile.write(path, noise, 16000)
    return path
