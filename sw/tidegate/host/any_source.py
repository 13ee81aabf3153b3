"""The ``SoundSource`` for anything that a user may give to listen to."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .audio import AudioError
from .microphone import Microphone
from .pcm import PcmPipe
from .sources import Blocks, SoundFile, SoundSource


def source_of(what: Any, rate: int, fast: bool = False) -> SoundSource:
    """None → the default microphone, "-" → raw PCM on standard input, a path → that file, an iterable → ``Blocks``.

    ``rate``: of the blocks of an iterable, in Hz.
    """
    if isinstance(what, SoundSource):
        return what
    if what is None:
        return Microphone(rate=rate)
    if isinstance(what, str) and what == "-":
        return PcmPipe(fast=fast)
    if isinstance(what, str | Path):
        return SoundFile(what, fast)
    if isinstance(what, Iterable):
        return Blocks(what, rate)
    raise AudioError(f"cannot listen to {what!r}; give a path, '-', a SoundSource or an iterable of blocks of samples")
