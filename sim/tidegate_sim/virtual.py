"""The virtual board: the real RTL, compiled by Verilator, behind a real pseudo-terminal.

    with VirtualBoard(SIMULATED[8]) as board:
        serial.Serial(board.port)
"""

import json
import select
import subprocess
from pathlib import Path

from tidegate.spec.design import Design
from tidegate.spec.errors import TidegateError

from .simulators import executable

START_TIMEOUT = 10.0    # seconds


class VirtualBoard:
    """A running board; a child process that ends with ``close()``, or when this process ends in any way.

    ``port``: what a serial library opens.  ``trace``: file for the cells' results (see ``simulation.h``; complete
    up to each answer).  ``waveform``: VCD file of all signals; needs another, slower executable.  The first use
    of a design compiles it, a minute or two with a progress display.

    TidegateError if the tools are missing or the simulator does not start.
    """

    def __init__(self, design: Design, trace: str | Path | None = None, waveform: str | Path | None = None):
        command = [str(executable(design, traced=waveform is not None))]
        for option, file in (("--trace", trace), ("--waveform", waveform)):
            if file is not None:
                command += [option, str(Path(file).absolute())]
        self.design = design
        self._start(command)

    def _start(self, command: list[str]) -> None:
        # how much was simulated in how much time; known after close()
        self.cycles: int | None = None
        self.seconds: float | None = None
        # a group of its own: a signal to ours ends the board when we are done with it, and not under our hands; if we
        # are killed, it ends with its standard input
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True, process_group=0)
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._stdin, self._stdout, self._stderr = self._process.stdin, self._process.stdout, self._process.stderr
        try:
            self.port: str = self._read_line(START_TIMEOUT)["port"]
        except BaseException:
            self._kill()
            raise

    def close(self) -> None:
        """End the simulation; harmless when repeated."""
        if self._stdin.closed:
            return
        self._stdin.close()
        try:
            last = self._read_line(START_TIMEOUT)
            self.cycles, self.seconds = last["cycles"], last["seconds"]
        except TidegateError:
            pass        # it was killed or crashed; whoever talks to it has noticed
        finally:
            self._kill()

    def __enter__(self) -> "VirtualBoard":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __del__(self):
        if hasattr(self, "_stderr"):
            self._kill()

    def _read_line(self, timeout: float) -> dict:
        """The child's next JSON line."""
        readable, _, _ = select.select([self._stdout], [], [], timeout)
        line = self._stdout.readline() if readable else ""
        if not line:
            self._process.kill()
            error = (self._stderr.read().strip().splitlines() or ["no message"])[-1]
            raise TidegateError(f"the virtual board's simulator does not answer ({error})")
        return json.loads(line)

    def _kill(self) -> None:
        for stream in (self._stdin, self._stdout, self._stderr):
            stream.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
