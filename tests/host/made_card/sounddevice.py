"""A made sound card, in the place of the module sounddevice: put this folder first on the module path.

TIDEGATE_TEST_SOUND names a WAV, mono, that is heard once, in real time, and then silence.
TIDEGATE_TEST_UNPLUG: "A B", seconds of sound at which the microphone is unplugged, and for how many seconds of time.
"""

import os
import threading
import time
from dataclasses import dataclass

import numpy as np
import soundfile


class PortAudioError(Exception):
    pass


@dataclass
class Card:
    """What happens to the card.  ``overflow_at``: sample before which ``overflow`` samples are lost; ``stays``: after
    it is unplugged a stream claims to be active, as with some drivers."""

    samples: np.ndarray
    rate: int
    unplug: tuple[float, float] | None = None
    overflow_at: int = -1
    overflow: int = 0
    speed: float = 1.0
    stays: bool = False
    rates: tuple[int, ...] = ()
    channels: int = 1
    clock: bool = True
    position: int = 0
    gone_until: float = 0.0
    opened: int = 0


def _from_environment() -> Card:
    path = os.environ.get("TIDEGATE_TEST_SOUND")
    samples, rate = soundfile.read(path, dtype="float32") if path else (np.zeros(16000, np.float32), 16000)
    unplug = os.environ.get("TIDEGATE_TEST_UNPLUG")
    return Card(samples, rate, tuple(map(float, unplug.split())) if unplug else None)


card = _from_environment()


class default:
    device = (1, 0)


def _terminate():
    pass


def _initialize():
    pass


def query_devices(device=None, kind=None):
    there = time.monotonic() >= card.gone_until
    devices = [{"name": "Loudspeaker", "max_input_channels": 0, "default_samplerate": 44100.0}]
    if there:
        devices.append({"name": "USB Made Microphone", "max_input_channels": card.channels,
                        "default_samplerate": float(card.rate)})
    if kind is None:
        return devices
    inputs = {1: devices[1]} if there else {}
    if device is None and there:
        return devices[1]
    for number, found in inputs.items():
        if device == number or (isinstance(device, str) and device in found["name"]):
            return found
    if isinstance(device, str):
        raise ValueError(f"No input device matching {device!r}")
    raise PortAudioError(f"Error querying device {device if device is not None else -1}")


def check_input_settings(device=None, channels=None, samplerate=None, dtype=None):
    if samplerate not in (card.rates or (card.rate,)) or channels != card.channels:
        raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")


class Times:
    def __init__(self, began: float):
        self.inputBufferAdcTime = began


class Flags:
    def __init__(self, overflow: bool):
        self.input_overflow = overflow

    def __bool__(self) -> bool:
        return self.input_overflow


class InputStream:
    def __init__(self, device, channels, samplerate, dtype, latency, blocksize, callback):
        query_devices(device, "input")
        check_input_settings(device, channels, samplerate, dtype)
        assert dtype == "float32"
        self.block, self.callback, self.rate, self.channels = blocksize, callback, samplerate, channels
        self.active, self._stop = False, threading.Event()
        card.opened += 1

    def start(self):
        self.active = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        began, first = time.monotonic(), card.position
        while not self._stop.is_set():
            end = card.position + self.block
            self._stop.wait(max(0, began + (end - first) / self.rate / card.speed - time.monotonic()))
            if card.unplug is not None and end / self.rate > card.unplug[0]:
                card.gone_until, card.unplug = time.monotonic() + card.unplug[1], None
                self.active = card.stays
                return
            lost = card.overflow if card.position <= card.overflow_at < end else 0
            card.position += lost
            part = card.samples[card.position : card.position + self.block]
            data = np.zeros((self.block, self.channels), np.float32)
            data[: len(part)] = part[:, None]
            at = 100 + card.position / self.rate if card.clock else 0.0
            self.callback(data, self.block, Times(at), Flags(lost > 0))
            data[:] = np.nan        # it was only lent
            card.position += self.block

    def close(self, ignore_errors=True):
        self._stop.set()
        self._thread.join()
        self.active = False
