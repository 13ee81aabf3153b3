"""Reads a program of ``torch.export`` (``.pt2``)."""

import logging
from pathlib import Path

import torch

from .tensors import unreadable


def read_program(path: Path) -> torch.export.ExportedProgram:
    """The program in a file; ModelError of one line if there is none."""
    log = logging.getLogger("torch.export")     # prints the traceback of a damaged file before it raises
    disabled, log.disabled = log.disabled, True
    try:
        return torch.export.load(path)
    except Exception as error:      # a damaged file can fail in any way
        raise unreadable(path, "program of torch.export", error) from None
    finally:
        log.disabled = disabled
