"""The state of an unfinished run, kept beside its model after every epoch."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from tidegate.spec.files import replacing

from ..errors import DataError


def checkpoint_path(out: Path) -> Path:
    """Where the state of an unfinished run for ``out`` is kept."""
    return out.with_name(out.name + ".checkpoint")


def write_checkpoint(out: Path, state: dict[str, Any]) -> None:
    """Keep the state of a run for ``out``; see ``write_state``."""
    write_state(checkpoint_path(out), state)


def check_resumable(out: Path) -> None:
    """DataError if there is no unfinished run for ``out``."""
    path = checkpoint_path(out)
    if not path.is_file():
        finished = f", and '{out}' is there: its run has finished" if out.is_file() else ""
        raise DataError(f"nothing to resume: there is no '{path}'{finished}; train without resuming")


def read_checkpoint(out: Path, digest: str, device: torch.device) -> dict[str, Any]:
    """The state kept for ``out``; DataError if there is none, it is damaged, or its digest is another."""
    check_resumable(out)
    return read_state(checkpoint_path(out), digest, device)


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state, with the ``digest`` of what it belongs to; DataError if it cannot be written."""
    try:
        with replacing(path) as part:
            torch.save(state, part)
    except (OSError, RuntimeError) as error:        # torch's own writer raises the second, as on a full disk
        reason = str(error).partition("\n")[0]
        raise DataError(f"'{path}' cannot be written ({reason}); make room or choose another place") from None


def read_state(path: Path, digest: str, device: torch.device) -> dict[str, Any]:
    """A state; DataError if it is damaged, or its digest is another."""
    try:
        state = torch.load(path, weights_only=True, map_location=device)
        found = state["digest"]
    except (OSError, RuntimeError, EOFError, UnpicklingError, KeyError, TypeError, ValueError):
        raise DataError(f"'{path}' is no readable checkpoint; delete it if it was one, or name another file") from None
    if found != digest:
        raise DataError(f"'{path}' belongs to another recipe or data set; delete it and begin anew")
    return state
