"""Raw PCM from a pipe, as ``arecord -f S16_LE -r 16000 -t raw | tidegate listen -`` gives it."""

import os
import select
import struct
import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .audio import MAX_CHANNELS, AudioError
from .sources import Notice, Piece, SoundSource, floats

FORMATS = {"S16_LE": "<i2", "S32_LE": "<i4", "F32_LE": "<f4"}
_READ = 1 << 16             # bytes at a time
_POLL = 0.1                 # seconds between looks at whether to stop
_ENCODED = {b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"FORM": "AIFF"}      # how such a file begins
_LONGEST_HEADER = 1 << 16   # bytes before the samples of a WAV
_UNKNOWN_SIZE = 0x7F000000  # a size from here on, or 0, means that who wrote the header did not know it
_WAV_FORMATS = {(1, 16): "S16_LE", (1, 32): "S32_LE", (3, 32): "F32_LE"}


class Wav(NamedTuple):
    """What a WAV header says.  ``start``: bytes before the samples; ``size``: bytes of samples, None if not known."""

    format: str
    rate: int
    channels: int
    start: int
    size: int | None


class PcmPipe(SoundSource):
    """Samples of a ``format`` of ``FORMATS`` with 1 or 2 ``channels`` at ``rate`` Hz from a file descriptor.

    A WAV header in front is recognised, and then holds in place of these.  ``fast``: it may wait, nothing is dropped.
    """

    def __init__(self, fd: int = 0, format: str = "S16_LE", rate: int = 16000, channels: int = 1, fast: bool = False):
        if format not in FORMATS:
            raise AudioError(f"there is no sample format '{format}'; choose {', '.join(FORMATS)}")
        if rate < 1000 or not 1 <= channels <= MAX_CHANNELS:
            raise AudioError(f"a pipe has 1 or {MAX_CHANNELS} channels and at least 1000 samples per second, not "
                             f"{channels} and {rate}")
        self.name = "standard input" if fd == 0 else "the pipe"
        self.fd, self.format, self.rate, self.channels, self.live = fd, format, rate, channels, not fast
        self._header: Notice | None = None
        self._size: int | None = None
        self._first, self._opened = b"", False

    def open(self, stop: threading.Event) -> None:
        """Wait for the first bytes, which tell whether this is a WAV."""
        if self._opened:
            return
        self._opened = True
        try:
            os.fstat(self.fd)
        except OSError:
            raise AudioError(f"{self.name} is closed; pipe raw PCM into it, as from arecord") from None
        if os.isatty(self.fd):
            raise AudioError(f"{self.name} is a terminal; pipe raw PCM into it, as from arecord -f S16_LE -r 16000")
        while len(self._first) < 12 and b"RIFF".startswith(self._first[:4]):
            if not (more := self._read(stop)):
                break
            self._first += more
        for begins, kind in _ENCODED.items():
            if self._first.startswith(begins):
                raise AudioError(f"{self.name} holds {kind}, and no raw PCM or WAV; give the file by its name")
        if self._first[:4] == b"RIFF" and self._first[8:12] == b"WAVE":
            self._take_header(stop)

    def _take_header(self, stop: threading.Event) -> None:
        while (wav := parse_wav(self._first, self.name)) is None:
            more = self._read(stop)
            if stop.is_set():
                return
            if not more or len(self._first) > _LONGEST_HEADER:
                raise AudioError(f"{self.name} begins as a WAV, but no samples follow; send it again")
            self._first += more
        said, self._size = (self.format, self.rate, self.channels), wav.size
        self.format, self.rate, self.channels = wav.format, wav.rate, wav.channels
        self._first = self._first[wav.start :]
        if said != (self.format, self.rate, self.channels):
            self._header = Notice("source", f"{self.name} is a WAV: {wav.format}, {wav.rate} Hz, {wav.channels} "
                                            f"channel{'s' * (wav.channels > 1)}")

    def pieces(self, stop: threading.Event) -> Iterator[Piece]:
        frame = np.dtype(FORMATS[self.format]).itemsize * self.channels
        nothing, rest, heard = np.zeros(0, np.float32), self._first, False
        left = None if self._size is None else self._size // frame * frame
        self._first = b""
        if self._header is not None:
            yield Piece(nothing, notice=self._header)
        while not stop.is_set():
            if left is not None:
                rest = rest[:left]
            whole = len(rest) // frame * frame
            if whole:
                samples = np.frombuffer(rest[:whole], FORMATS[self.format]).reshape(-1, self.channels)
                yield Piece(self._sound(samples))
                heard, left = True, None if left is None else left - whole
                rest = rest[whole:]
            if left == 0 or not (more := self._read(stop)):
                break
            rest += more
        if stop.is_set():
            return
        if not heard:
            raise AudioError(f"{self.name} ended before any sound came; check the program that records")
        if left:
            missing = left / frame / self.rate
            yield Piece(nothing, notice=Notice("source", f"{self.name} ended {missing:.2f} s before the length that "
                                                         "its header states"))
        if rest:
            yield Piece(nothing, notice=Notice("source", f"{self.name} ended inside a sample; {len(rest)} bytes of it "
                                                         "were left out"))

    def _sound(self, samples: np.ndarray) -> np.ndarray:
        try:
            return floats(samples, self.name)
        except AudioError:
            if samples.dtype.kind != "f":
                raise
            raise AudioError(f"{self.name} gives no sound as {self.format} samples; check its --format") from None

    def _read(self, stop: threading.Event) -> bytes:
        """More bytes; none at the end, or when it is time to stop."""
        try:
            while not _ready(self.fd):
                if stop.is_set():
                    return b""
            return os.read(self.fd, _READ)
        except OSError as error:
            raise AudioError(f"{self.name} cannot be read ({os.strerror(error.errno or 0)}); start again") from None


def parse_wav(data: bytes, name: str) -> Wav | None:
    """The header of a WAV that begins with ``data``; None if its samples have not begun.

    AudioError for samples of another format than those of ``FORMATS``.
    """
    at, found = 12, None
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if kind == b"data":
            if found is None:
                raise AudioError(f"{name} is a WAV without a format; send it again")
            return Wav(*found, at, size if 0 < size < _UNKNOWN_SIZE else None)
        if kind == b"fmt ":
            if len(data) < at + max(16, min(size, 26)):
                return None
            tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, at)
            if tag == 0xFFFE and size >= 26:            # extensible: the real tag comes later
                tag = struct.unpack_from("<H", data, at + 24)[0]
            format = _WAV_FORMATS.get((tag, bits))
            if format is None or not 1 <= channels <= MAX_CHANNELS or rate < 1000:
                raise AudioError(f"{name} is a WAV of {bits} bits (format {tag}), {channels} channels, {rate} Hz; "
                                 f"send {', '.join(FORMATS)} with 1 or {MAX_CHANNELS} channels")
            found = (format, rate, channels)
        at += size + size % 2
    return None


def _ready(fd: int) -> bool:
    try:
        return bool(select.select([fd], [], [], _POLL)[0])
    except OSError:
        return True         # not a descriptor that can be waited for: the read itself waits, or fails
