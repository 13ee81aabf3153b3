"""Synthetic voices: the programs espeak-ng and flite, each call one word, phrase or sentence.

espeak-ng makes speech from formants, in several English accents with several throats each; flite joins or models the
recorded speech of four speakers.  Both are free software and run on one's own machine.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import soundfile
import soxr

from tidegate.spec.errors import TidegateError

from .phones import VOWELS, Phones

RATE = 16000
PROGRAMS = ("espeak-ng", "flite")
EDGE, FRAME, QUIET = 0.08, 0.01, 0.02       # s kept around the speech, s of a frame, its peak against the loudest
LEVELS = (-24.0, -2.0)                      # dB of full scale that a clip's peak may have
_ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")
_THROATS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "croak", "whisper", "klatt",
            "klatt2", "klatt4", "Andy", "Annie", "Alex", "Lee", "Michael", "grandma", "grandpa", "steph")
_FLITE = ("kal16", "awb", "rms", "slt")
MOST_VOICES = len(_ACCENTS) * len(_THROATS) + len(_FLITE)
_PITCH, _SPEED = (20, 80), (105, 215)       # espeak-ng's scale of 0..99; words a minute
_FLITE_PITCH, _FLITE_SPEED = (86, 118), (75, 130)   # per cent
_TIMEOUT = 60                               # s for one call
# the CMU dictionary's phones in espeak-ng's notation
_ESPEAK_PHONES = {
    "AA": "A:", "AE": "a", "AH": "V", "AO": "O:", "AW": "aU", "AY": "aI", "B": "b", "CH": "tS", "D": "d", "DH": "D",
    "EH": "E", "ER": "3:", "EY": "eI", "F": "f", "G": "g", "HH": "h", "IH": "I", "IY": "i:", "JH": "dZ", "K": "k",
    "L": "l", "M": "m", "N": "n", "NG": "N", "OW": "oU", "OY": "OI", "P": "p", "R": "r", "S": "s", "SH": "S", "T": "t",
    "TH": "T", "UH": "U", "UW": "u:", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "Z",
}


@dataclass(frozen=True)
class Voice:
    """A voice of a ``program``, and its ``name`` there; it counts as one speaker."""

    program: str
    name: str

    @property
    def speaker(self) -> str:
        """Its name as a folder."""
        return f"{self.program.split('-')[0]}-{self.name.replace('+', '-')}".lower()


@dataclass(frozen=True)
class Manner:
    """``pitch`` and ``speed`` in the units of the voice's program; ``level`` of the peak in dB of full scale."""

    pitch: int
    speed: int
    level: float

    def __str__(self) -> str:
        return f"p{self.pitch:02d}_s{self.speed}"


def programs() -> tuple[str, ...]:
    """Those that are installed; TidegateError if none is."""
    here = tuple(p for p in PROGRAMS if shutil.which(p))
    if not here:
        raise TidegateError("no program here speaks; install one or both, such as with `apt install espeak-ng flite` "
                            "(macOS: `brew install espeak-ng`)")
    return here


@cache
def voices(use: tuple[str, ...]) -> tuple[Voice, ...]:
    """All voices of these programs that are installed: accents times throats of espeak-ng, and flite's."""
    made = []
    if "espeak-ng" in use:
        there = {row.split()[1] for row in _run(["espeak-ng", "--voices=en"]).splitlines() if len(row.split()) > 1}
        made += [Voice("espeak-ng", f"{a}+{t}") for a in _ACCENTS if a in there for t in _THROATS]
    if "flite" in use:
        there = set(_run(["flite", "-lv"]).split())
        made += [Voice("flite", name) for name in _FLITE if name in there]
    for program in use:
        if not any(voice.program == program for voice in made):
            raise TidegateError(f"{program} has no English voice that is known here; is it installed whole?")
    return tuple(made)


def cast(use: tuple[str, ...], count: int, random: Random) -> list[Voice]:
    """``count`` voices by chance, different ones if there are enough; a fifth is flite's if both programs are there."""
    pool = {p: random.sample(there, len(there)) for p in use if (there := voices((p,)))}
    if len(pool) > 1:
        pool["flite"] = pool["flite"][: max(1, count // 5)]
    deck = [voice for p in reversed(use) for voice in pool[p]]
    return [deck[i % len(deck)] for i in range(count)]


def manner(voice: Voice, random: Random) -> Manner:
    """Pitch, speed and level by chance, in the range of the voice's program."""
    pitch, speed = (_PITCH, _SPEED) if voice.program == "espeak-ng" else (_FLITE_PITCH, _FLITE_SPEED)
    return Manner(random.randint(*pitch), random.randint(*speed), round(random.uniform(*LEVELS), 1))


def program_version(program: str) -> str:
    """What the program says about its version, in one line."""
    text = _run([program, "--version"]).strip()
    found = re.search(r"text-to-speech: *(\S+)|version: *(flite-)?(.+)", text)
    return (found[1] or found[3]) if found else "of unknown version"


def say(text: str, voice: Voice, how: Manner, scratch: Path, phones: Phones = ()) -> np.ndarray:
    """The text, or the ``phones`` if there are any → float32 samples (n,) at 16 kHz, silence at the ends cut off.

    ``scratch``: a folder for a temporary file.  TidegateError if the program fails or nothing is heard.
    """
    path = scratch / "spoken.wav"
    path.unlink(missing_ok=True)
    if voice.program == "espeak-ng":
        spoken = f"[[{_espeak_phones(phones)}]]" if phones else text
        _run(["espeak-ng", "-v", voice.name, "-p", str(how.pitch), "-s", str(how.speed), "-w", str(path), "--", spoken])
    else:
        stretch = f"duration_stretch={100 / how.speed:.3f}"
        what = ["-p", " ".join(phones).lower()] if phones else ["-t", text]
        _run(["flite", "-voice", voice.name, "--setf", stretch, *what, "-o", str(path)])
    try:
        samples, rate = soundfile.read(path, dtype="float32")
    except (soundfile.SoundFileError, OSError):
        raise TidegateError(_silent(text, voice)) from None
    if voice.program == "flite":        # a shorter or longer throat: pitch and formants together
        rate = rate * how.pitch / 100
    samples = trim(soxr.resample(samples, rate, RATE) if rate != RATE else samples)
    if not len(samples):
        raise TidegateError(_silent(text, voice))
    return samples * np.float32(10 ** (how.level / 20) / np.abs(samples).max())


def _silent(text: str, voice: Voice) -> str:
    return f"{voice.program} says nothing to '{text}' with the voice {voice.name}; is it installed whole?"


def trim(samples: np.ndarray) -> np.ndarray:
    """Without the silence at both ends but for EDGE seconds; (0,) if all of it is silent."""
    frame, edge = int(FRAME * RATE), int(EDGE * RATE)
    padded = np.abs(np.pad(samples, (0, -len(samples) % frame))).reshape(-1, frame).max(1, initial=0)
    peak = padded.max(initial=0)
    loud = np.flatnonzero(padded > QUIET * peak) if peak > 1e-4 else []
    if not len(loud):
        return samples[:0]
    return samples[max(0, loud[0] * frame - edge) : (loud[-1] + 1) * frame + edge]


def _espeak_phones(phones: Phones) -> str:
    """With the stress on the first vowel."""
    stressed, parts = False, []
    for p in phones:
        mark = "'" if p in VOWELS and not stressed else ""
        stressed |= p in VOWELS
        parts.append(mark + _ESPEAK_PHONES[p])
    return "".join(parts)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT)
    except OSError as error:
        raise TidegateError(f"{command[0]} does not run ({error.strerror}); install it again") from None
    except subprocess.TimeoutExpired:
        raise TidegateError(f"{command[0]} took more than {_TIMEOUT} s for one text; try again") from None
    if done.returncode and "--version" not in command:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise TidegateError(f"{command[0]} failed ({reason}); is it installed whole? The "
                            "same command goes on where it stopped")
    return done.stdout + done.stderr
