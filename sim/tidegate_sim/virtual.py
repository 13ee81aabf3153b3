"""The virtual board: the real RTL, compiled by Verilator, behind a real pseudo-terminal.

    with VirtualBoard(SIMULATED[8]) as board:
        serial.Serial(board.port)
"""

import hashlib
import importlib.metadata
import json
import select
import subprocess
from dataclasses import astuple
from pathlib import Path

import tidegate.spec
import tidegate_hw
from tidegate.spec.design import Design
from tidegate.spec.errors import TidegateError

from . import verilator

START_TIMEOUT = 10.0    # seconds


class VirtualBoard:
    """A running board; a child process that ends with ``close()``, or when this process ends in any way.

    ``port``: what a serial library opens.  ``trace``: file for the cells' results (see ``board.cpp``; complete
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
        # how much was simulated in how much time; known after close()
        self.cycles: int | None = None
        self.seconds: float | None = None
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True)
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


def executable(design: Design, traced: bool = False) -> Path:
    """The compiled simulator of a design; compiled now if nothing like it is in the cache.

    An index maps the sources that the hardware is made of to executables, so that a known design needs no
    elaboration, not even an import of Amaranth.
    """
    recipe = verilator.Recipe(
        top="board", harness=Path(__file__).with_name("board.cpp"), flags=("--trace",) if traced else (),
        cflags=(f"-DCELL_RATE={design.cell_rate}",), optimise="-O2 -fno-tree-vectorize",
        what=f"virtual board with {design.lanes} lanes",
    )
    index = verilator.cache_dir() / f"{recipe.digest(_source_digest(design))}.index"
    if index.is_file() and (known := verilator.cached(index.read_text())):
        return known
    from .harness import harness_digest, harness_verilog

    source = harness_digest(design)
    path = verilator.build(recipe, source, lambda: harness_verilog(design))
    verilator.write(index, recipe.digest(source))
    return path


def _source_digest(design: Design) -> bytes:
    """Digest of all that the RTL of a design depends on."""
    files = [Path(__file__).with_name("harness.py")]
    for package in (tidegate_hw, tidegate.spec):
        files += sorted(Path(package.__path__[0]).glob("*.py"))
    digest = hashlib.sha256(repr((astuple(design), importlib.metadata.version("amaranth"))).encode())
    for file in files:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.digest()
