"""A WAV around each word that was accepted, so that one can hear what was taken for it."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import soundfile

from ..spec.errors import TidegateError
from .frontend import FrontEndSettings
from .listen import Heard, Word
from .sources import Notice

BEFORE_S, AFTER_S = 1.5, 0.5        # around the sample at which a word was decided


@dataclass(frozen=True)
class _Wanted:
    word: Word
    at: int         # sample of the stretch at which it was decided


class Recorder:
    """Writes ``folder/DATE-TIME_SECONDS_WORD.wav``: int16, mono, about 2 s.

    Call ``heard`` with each ``Heard``, and ``close`` at the end.  ``notice`` is called when a file cannot be written,
    and listening goes on; ``written`` counts files.  TidegateError at once if the folder cannot be written to.
    """

    def __init__(self, folder: str | Path, settings: FrontEndSettings, notice: Callable[[Notice], None]):
        self.folder, self.settings, self._notice = Path(folder), settings, notice
        self.written = self.failed = 0
        self._rate = settings.sample_rate
        self._reset(0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / ".tidegate-probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise TidegateError(f"nothing can be recorded in '{folder}' ({_reason(error)}); choose another folder "
                                "for --record") from None

    def _reset(self, stretch: int) -> None:
        self._stretch, self._begin, self._sound = stretch, 0, np.zeros(0, np.float32)
        self._waiting: list[_Wanted] = []

    def heard(self, heard: Heard) -> None:
        """More sound of a stretch, and the words in it."""
        if heard.stretch != self._stretch:
            self.close()
            self._reset(heard.stretch)
        self._sound = np.concatenate([self._sound, heard.samples])
        for word in heard.words:
            self._waiting.append(_Wanted(word, word.frame * self.settings.hop + self.settings.window))
        end = self._begin + len(self._sound)
        ready = [w for w in self._waiting if w.at + self._samples(AFTER_S) <= end]
        for wanted in ready:
            self._write(wanted)
            self._waiting.remove(wanted)
        # a word may be decided in the oldest frame that the board has not answered yet, and what waits needs its sound
        keep = min([end - self._samples(BEFORE_S) - self.settings.window,
                    *(w.at - self._samples(BEFORE_S) for w in self._waiting)])
        if keep > self._begin:
            self._sound = self._sound[keep - self._begin :].copy()
            self._begin = keep

    def close(self) -> None:
        """Write the words whose sound ended sooner."""
        for wanted in self._waiting:
            self._write(wanted)
        self._waiting = []

    def _samples(self, seconds: float) -> int:
        return round(seconds * self._rate)

    def _write(self, wanted: _Wanted) -> None:
        first = max(0, wanted.at - self._samples(BEFORE_S) - self._begin)
        sound = self._sound[first : wanted.at + self._samples(AFTER_S) - self._begin]
        path, wav = None, io.BytesIO()      # libsndfile would pass over a disk that is full
        soundfile.write(wav, np.clip(sound, -1, 1), self._rate, subtype="PCM_16", format="WAV")
        try:
            with self._new_file(wanted.word) as file:
                path = Path(file.name)
                file.write(wav.getbuffer())
            self.written += 1
        except (OSError, UnicodeEncodeError) as error:
            self.failed += 1
            if path is not None:
                path.unlink(missing_ok=True)        # half a recording is none
            self._notice(Notice("record", f"'{wanted.word.label}' was not recorded ({_reason(error)}); make room in "
                                          f"'{self.folder}'"))

    def _new_file(self, word: Word):
        when = datetime.fromtimestamp(word.at).strftime("%Y%m%d-%H%M%S")
        name = f"{when}_{word.time_s:09.2f}s_" + re.sub(r"[^\w-]", "_", word.label)
        for k in range(1000):
            try:
                return open(self.folder / f"{name}{f'-{k + 1}' if k else ''}.wav", "xb")
            except FileExistsError:
                continue
        raise FileExistsError(0, "1000 recordings of this name are there")


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return (text.splitlines() or [type(error).__name__])[0].rstrip(".")
