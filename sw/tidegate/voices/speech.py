"""Synthetic voices: the programs espeak-ng and flite, each call one word, phrase or sentence.

espeak-ng makes speech from formants, in several English accents with several throats each; flite joins or models recorded
speech of four speakers.  Both are free software and run on one's own machine.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import soundfile
import soxr

from tidegate.spec.errors import TidegateError

from .lexicon import Phones

RATE = 16000
PROGRAMS = ("espeak-ng", "flite")
EDGE, FRAME, QUIET = 0.08, 0.01, 0.02       # s kept around the speech, s of a frame, its peak against the loudest
LEVELS = (-24.0, -2.0)                      # dB of full scale that a clip's peak may have
_ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")
_THROATS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "croak", "whisper", "klatt",
            "klatt2", "klatt4", "Andy", "Annie", "Alex", "Lee", "Michael", "grandma", "grandpa", "steph")
_FLITE = ("kal16", "awb", "rms", "slt")
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
_VOWELS = frozenset("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())


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
    """How a voice speaks: ``pitch`` and ``speed`` in the program's own units, ``level`` of the peak in dB of full scale."""

    pitch: int
    speed: int
    level: float

    def __str__(self) -> str:
        return f"p{self.pitch:02d}_s{self.speed}"


def programs() -> tuple[str, ...]:
    """Those that are installed; TidegateError if none is."""
    here = tuple(p for p in PROGRAMS if shutil.which(p))
    if not here:
        raise TidegateError("no program here speaks; install one or both, as in `apt install espeak-ng flite` "
                            "(macOS: `brew install espeak-ng`)")
    return here


def voices(use: tuple[str, ...]) -> list[Voice]:
    """All voices of these programs."""
    made = [Voice("espeak-ng", f"{a}+{t}") for a in _ACCENTS for t in _THROATS] if "espeak-ng" in use else []
    return made + ([Voice("flite", name) for name in _FLITE] if "flite" in use else [])


def cast(use: tuple[str, ...], count: int, random: Random) -> list[Voice]:
    """``count`` different voices by chance, of which a fifth are flite's (it has four) if both programs are there."""
    pool = {p: random.sample(there, len(there)) for p in use if (there := voices((p,)))}
    flite = pool.get("flite", [])[: count // 5 or 1 if len(use) > 1 else count]
    return (flite + pool.get("espeak-ng", []))[:count]


def manner(voice: Voice, random: Random) -> Manner:
    """Pitch, speed and level by chance, in the range of the voice's program."""
    pitch, speed = (_PITCH, _SPEED) if voice.program == "espeak-ng" else (_FLITE_PITCH, _FLITE_SPEED)
    return Manner(random.randint(*pitch), random.randint(*speed), round(random.uniform(*LEVELS), 1))


def version(program: str) -> str:
    """What the program says about its version, in one line."""
    text = _run([program, "--version"]).strip()
    found = [line.strip() for line in text.splitlines() if "version" in line.lower() or "text-to-speech" in line.lower()]
    return found[0].split("  ")[0] if found else "version unknown"


def say(text: str, voice: Voice, how: Manner, scratch: Path, phones: Phones = ()) -> np.ndarray:
    """The text, or the ``phones`` if there are any, spoken → float32 samples (n,) at 16 kHz without silence at its ends.

    ``scratch``: a folder for a temporary file.  TidegateError if the program fails or nothing is heard.
    """
    path = scratch / "spoken.wav"
    path.unlink(missing_ok=True)
    if voice.program == "espeak-ng":
        spoken = f"[[{_espeak_phones(phones)}]]" if phones else text
        _run(["espeak-ng", "-v", voice.name, "-p", str(how.pitch), "-s", str(how.speed), "-w", str(path), "--", spoken])
    else:
        what = ["-p", " ".join("hh" if p == "HH" else p.lower() for p in phones)] if phones else ["-t", text]
        _run(["flite", "-voice", voice.name, "--setf", f"duration_stretch={100 / how.speed:.3f}", *what, "-o", str(path)])
    try:
        samples, rate = soundfile.read(path, dtype="float32")
    except (soundfile.SoundFileError, OSError):
        raise TidegateError(f"{voice.program} said nothing to '{text}' with the voice {voice.name}; is it installed "
                            "whole?") from None
    if voice.program == "flite":        # a shorter or longer throat: pitch and formants together
        rate = rate * how.pitch / 100
    samples = trim(soxr.resample(samples, rate, RATE) if rate != RATE else samples)
    if not len(samples):
        raise TidegateError(f"{voice.program} is silent on '{text}' with the voice {voice.name}; is it installed whole?")
    return samples * np.float32(10 ** (how.level / 20) / np.abs(samples).max())


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
        mark = "'" if p in _VOWELS and not stressed else ""
        stressed |= p in _VOWELS
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
        raise TidegateError(f"{command[0]} failed ({reason}); is it installed whole?")
    return done.stdout + done.stderr
