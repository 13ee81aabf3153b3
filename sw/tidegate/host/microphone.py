"""A microphone, by way of sounddevice and PortAudio, which are imported when one is used."""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..spec.errors import TidegateError
from .audio import MAX_CHANNELS, AudioError
from .sources import PIECE_S, Notice, Piece, SoundSource, floats

SILENT_S = 2.0      # seconds without a callback after which a microphone is taken for unplugged
RETRY_S = 1.0       # seconds between attempts to open it again
OVERFLOW = "the sound card lost sound, as this machine is too busy"


@dataclass(frozen=True)
class Device:
    """An input device: ``number`` and ``name`` as --device takes them, ``channels``, its own ``rate`` in Hz."""

    number: int
    name: str
    channels: int
    rate: float
    default: bool


def sounddevice() -> Any:
    """The module; AudioError with one line if it, or PortAudio, is not there."""
    try:
        import sounddevice  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise AudioError("a microphone needs sounddevice: run `make setup` in a checkout of tidegate, or pip install "
                         "'tidegate[audio]'; or pipe sound in, as arecord -f S16_LE -r 16000 -t raw | "
                         "tidegate listen -") from None
    except OSError as error:            # sounddevice is there, and the library that it loads is not
        raise AudioError(f"a microphone needs the PortAudio library ({error}); sudo apt install libportaudio2, or pipe "
                         "sound in, as arecord -f S16_LE -r 16000 -t raw | tidegate listen -") from None
    return sounddevice


def microphones() -> list[Device]:
    """All input devices."""
    sd = sounddevice()
    try:
        default = sd.default.device[0]
        return [Device(k, d["name"], d["max_input_channels"], d["default_samplerate"], k == default)
                for k, d in enumerate(sd.query_devices()) if d["max_input_channels"] > 0]
    except sd.PortAudioError as error:
        raise AudioError(f"the sound cards cannot be listed ({_line(error)}); check that one is there") from None


class Microphone(SoundSource):
    """``device``: number or part of a name, or None for the default; ``rate``: wanted, in Hz.

    A device that cannot give this rate gives its own.  When it is unplugged, it is opened again every second; the time
    until then is lost sound.
    """

    def __init__(self, device: str | int | None = None, rate: int = 16000):
        self.device = int(device) if isinstance(device, str) and device.isdecimal() else device
        self.name = "the microphone" if device is None else f"the microphone '{device}'"
        self.wanted, self._sd = rate, _not_open()
        self._stream: Any = None
        self._pieces: queue.SimpleQueue[tuple[np.ndarray, int, bool]] = queue.SimpleQueue()
        self._clock: float | None = None        # the sound card's time at the end of the last piece

    def open(self, stop: threading.Event) -> None:
        """Find the device and a rate that it can; it is started when its sound is wanted."""
        self._sd = sounddevice()
        found = self._query()
        rate = self.wanted
        for rate, channels in ((self.wanted, 1), (self.wanted, MAX_CHANNELS), (found["default_samplerate"], 1),
                               (found["default_samplerate"], MAX_CHANNELS)):
            try:
                self._sd.check_input_settings(device=self.device, channels=channels, samplerate=rate, dtype="float32")
                break
            except (self._sd.PortAudioError, ValueError):
                continue
        else:
            raise AudioError(f"{self.name} gives neither {self.wanted} Hz nor {rate:g} Hz; choose another --device")
        self.rate, self._channels = rate, channels

    def _query(self) -> dict:
        try:
            return self._sd.query_devices(self.device, "input")
        except (self._sd.PortAudioError, ValueError) as error:
            what = "there is no microphone" if self.device is None else f"there is no microphone '{self.device}'"
            raise AudioError(f"{what} ({_line(error)}); `tidegate listen --list-devices` lists them") from None

    def _start(self) -> None:
        self._clock = None
        try:
            stream = self._sd.InputStream(
                device=self.device, channels=self._channels, samplerate=self.rate, dtype="float32", latency="low",
                blocksize=round(self.rate * PIECE_S), callback=self._callback)
        except (self._sd.PortAudioError, ValueError) as error:
            raise AudioError(f"{self.name} cannot be opened ({_line(error)}); close other programs that use it, or "
                             "choose another --device") from None
        try:
            stream.start()
        except self._sd.PortAudioError as error:
            stream.close(ignore_errors=True)
            raise AudioError(f"{self.name} does not start ({_line(error)}); choose another --device") from None
        self._stream = stream

    def _callback(self, data: np.ndarray, frames: int, times: Any, status: Any) -> None:
        """Called by PortAudio for each block; ``data`` is only lent."""
        overflow, lost = bool(status and status.input_overflow), 0
        began = times.inputBufferAdcTime
        if overflow and self._clock is not None and began > self._clock:
            lost = round((began - self._clock) * self.rate)
        self._clock = began + frames / self.rate if began > 0 else None
        self._pieces.put((data.copy(), lost, overflow))

    def pieces(self, stop: threading.Event) -> Iterator[Piece]:
        self._start()
        heard = time.monotonic()
        while not stop.is_set():
            try:
                data, lost, overflow = self._pieces.get(timeout=0.1)
            except queue.Empty:
                if self._active() and time.monotonic() < heard + SILENT_S:
                    continue
                yield from self._reconnect(heard, stop)
            else:
                if overflow:            # a card that does not say how much it lost has lost a block at least
                    yield Piece(floats(data, self.name), lost or len(data), OVERFLOW)
                else:
                    yield Piece(floats(data, self.name))
            heard = time.monotonic()

    def _reconnect(self, heard: float, stop: threading.Event) -> Iterator[Piece]:
        nothing = np.zeros(0, np.float32)
        yield Piece(nothing, notice=Notice(
            "source-lost", f"lost {self.name}; check its cable; trying again every second"))
        while not stop.is_set():
            self.close()
            try:
                self._sd._terminate()       # PortAudio lists the devices once: this makes it look again
                self._sd._initialize()
                self._query()
                self._start()
            except (TidegateError, self._sd.PortAudioError):
                stop.wait(RETRY_S)
                continue
            lost = round((time.monotonic() - heard) * self.rate)
            yield Piece(nothing, lost, f"{self.name} is back", "source-back")
            return

    def _active(self) -> bool:
        try:
            return self._stream.active
        except self._sd.PortAudioError:
            return False

    def close(self) -> None:
        stream, self._stream = self._stream, _not_open()
        if stream is not None:
            try:
                stream.close(ignore_errors=True)
            except self._sd.PortAudioError:
                pass                # what is unplugged is closed


def _not_open() -> Any:
    return None


def _line(error: Exception) -> str:
    """A PortAudio error in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
