"""Make the bundled clips: ``python -m tidegate.clips.make_clips`` (needs the program espeak-ng).

Each clip is one second: the word in the middle at a peak of 0.4, and throughout a white noise of 0.0005 in
place of a room.  Noise and voices are fixed, so that one version of espeak-ng gives the same files again.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

from tidegate.clips import FOLDER, MANIFEST
from tidegate.spec.stop import SILENCE

WORDS = ("zero", "one", "two", "three", "four", "five", "left", "right", "up", "down", "go")
OTHERS = ("happy", "cat", "house")          # words that the model "commands" calls unknown
VOICES = (                                  # espeak-ng voice, words a minute, pitch 0..99
    ("en-us", 150, 45),
    ("en-gb", 140, 50),
    ("en-us+f3", 150, 60),
    ("en-gb-scotland", 145, 40),
    ("en-us+m7", 155, 50),
    ("en-gb+f4", 140, 55),
)
RATE, LENGTH, PEAK, NOISE = 16000, 16000, 0.4, 0.0005


def speak(word: str, voice: str, speed: int, pitch: int) -> np.ndarray:
    """The word alone as samples at RATE, silence at both ends cut off."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "word.wav"
        subprocess.run(["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "-w", path, word], check=True)
        samples, rate = soundfile.read(path)
    samples = soxr.resample(samples, rate, RATE)
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    samples = samples[loud[0] : loud[-1] + 1]
    if len(samples) > LENGTH:
        sys.exit(f"'{word}' by {voice} takes {len(samples) / RATE:.2f} s; choose a higher speed")
    return samples * (PEAK / np.abs(samples).max())


def clip(speech: np.ndarray, seed: int) -> np.ndarray:
    samples = np.random.default_rng(seed).normal(0, NOISE, LENGTH)
    start = (LENGTH - len(speech)) // 2
    samples[start : start + len(speech)] += speech
    return samples


def main() -> None:
    takes = [(word, VOICES[(i + step) % len(VOICES)]) for i, word in enumerate(WORDS) for step in (0, 1, 3)]
    takes += [(word, VOICES[2 * i]) for i, word in enumerate(OTHERS)]
    entries = []
    for word, (voice, speed, pitch) in takes:
        entries.append({"file": f"{word}_{voice.replace('+', '_')}.flac", "word": word, "voice": voice})
        sound = clip(speak(word, voice, speed, pitch), len(entries))
        soundfile.write(FOLDER / entries[-1]["file"], sound, RATE, "PCM_16")
    entries.append({"file": "silence.flac", "word": SILENCE, "voice": "none"})
    soundfile.write(FOLDER / "silence.flac", clip(np.zeros(0), 0), RATE, "PCM_16")
    program = subprocess.run(["espeak-ng", "--version"], check=True, capture_output=True, text=True).stdout.split()
    note = "Synthetic speech made by make_clips.py with espeak-ng; released with this project under Apache-2.0"
    text = json.dumps({"note": note, "espeak-ng": program[3], "clips": entries}, indent=1)
    MANIFEST.write_text(text + "\n", encoding="utf-8")
    print(len(entries), "clips,", sum(p.stat().st_size for p in FOLDER.glob("*.flac")), "bytes")


if __name__ == "__main__":
    main()
