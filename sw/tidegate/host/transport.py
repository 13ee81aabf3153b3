"""Byte transports: what a link needs of a port, and the serial port.

The virtual board is a serial port too (a pseudo-terminal), so that the driver cannot tell the difference.
"""

import errno
import time
from abc import ABC, abstractmethod

import serial

try:
    import termios
except ImportError:             # not a Unix
    termios = None

from ..spec.boards import BAUD, BOARDS
from .errors import BoardError

# How pyserial shows a device that is gone: OSError; TypeError where it used the closed handle; termios.error, which is
# no OSError, where it changed or flushed the terminal.
_LOST = (OSError, TypeError, AttributeError, *(() if termios is None else (termios.error,)))
_POLL = 0.005            # seconds; to change pyserial's time limit costs six system calls, so it stays


class Transport(ABC):
    """A two-way byte stream that may lose or damage bytes.  ``name`` is what error messages call it."""

    name: str

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send all of ``data``; BoardError if the device is gone."""

    @abstractmethod
    def read(self, timeout: float) -> bytes:
        """The bytes that have arrived, waiting up to ``timeout`` seconds for the first; empty if none came.

        BoardError if the device is gone.
        """

    @abstractmethod
    def discard(self) -> None:
        """Drop the bytes that have arrived and were not read."""

    @abstractmethod
    def close(self) -> None:
        """Give the port back; closing twice is allowed."""


class SerialTransport(Transport):
    """A serial port: 8 data bits, no parity, 1 stop bit, no flow control; locked against other programs.

    BoardError with one line if it does not exist, is no serial port, is in use or may not be opened.
    """

    def __init__(self, port: str, baud: int = BAUD):
        self.name = port
        try:
            self._serial = serial.Serial(port, baud, exclusive=True, timeout=_POLL, write_timeout=5)
        except (*_LOST, ValueError) as error:    # SerialException is an OSError
            raise BoardError(_why_not_opened(port, error)) from None
        try:
            self._serial.set_low_latency_mode(True)   # or an FTDI bridge holds answers back for 16 ms
        except (*_LOST, ValueError, NotImplementedError):
            pass                                      # a pseudo-terminal, or a system without the setting

    def write(self, data: bytes) -> None:
        try:
            self._serial.write(data)
        except _LOST as error:
            raise self._gone(error) from None

    def read(self, timeout: float) -> bytes:
        try:
            deadline = time.monotonic() + timeout
            while not (first := self._serial.read(1)) and time.monotonic() < deadline:
                pass
            waiting = self._serial.in_waiting if first else 0
            return first + self._serial.read(waiting) if waiting else first
        except _LOST as error:
            raise self._gone(error) from None

    def discard(self) -> None:
        try:
            self._serial.reset_input_buffer()
        except _LOST as error:
            raise self._gone(error) from None

    def close(self) -> None:
        try:
            self._serial.close()
        except _LOST:
            pass              # a port that is gone is closed

    def _gone(self, error: Exception) -> BoardError:
        if isinstance(error, serial.SerialTimeoutException):
            return BoardError(f"the board on {self.name} takes no data; reset it and try again")
        return BoardError(f"lost the board on {self.name}; check the cable and power, then start again")


def _why_not_opened(port: str, error: Exception) -> str:
    code = getattr(error, "errno", None)
    if port in BOARDS:
        return f"{port} is a board, not a port; `tidegate boards` lists the ports that are there"
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return f"no port '{port}'; `tidegate boards` lists the ones that are there"
    if code in (errno.EAGAIN, errno.EBUSY):
        return f"{port} is in use by another program; close that one first"
    if code in (errno.EACCES, errno.EPERM):
        return f"no permission to open {port}; add your user to the group that owns it (often dialout)"
    if code in (errno.ENOTTY, errno.EISDIR, errno.EINVAL) or "Could not configure port" in str(error):
        return f"'{port}' is not a serial port; `tidegate boards` lists the ones that are there"
    return f"cannot open {port} ({str(error).splitlines()[0]})"
