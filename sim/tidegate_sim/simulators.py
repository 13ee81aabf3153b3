"""Compiled simulators of a design: "board", the virtual board's, and "core", the core alone."""

import hashlib
import importlib.metadata
from dataclasses import astuple
from pathlib import Path

import tidegate.spec
import tidegate_hw
from tidegate.spec.design import Design
from tidegate.spec.packets import core_signals
from tidegate.spec.registers import REGISTERS

from . import verilator

REGISTER_BYTES = -(-sum(r.bits for r in REGISTERS if r.writable) // 8)
_NAMES = {"board": "virtual board", "core": "core"}


def executable(design: Design, traced: bool = False, top: str = "board") -> Path:
    """The compiled simulator of a design; compiled now if nothing like it is in the cache.

    ``traced``: one that can write a waveform.  An index maps the sources that the hardware is made of to
    executables, so that a known design needs no elaboration, not even an import of Amaranth.
    """
    sizes = {"LANES": design.lanes, "CELL_RATE": design.cell_rate, "ENCODER_RATE": design.encoder_rate,
             "REGISTER_BYTES": REGISTER_BYTES, "STAGES": design.stages, "COUNTED": core_signals(design.layers)}
    recipe = verilator.VerilatorBuild(
        top=top, harness=Path(__file__).with_name(f"{top}.cpp"), flags=("--trace",) if traced else (),
        cflags=tuple(f"-D{name}={value}" for name, value in sizes.items()), optimise="-O2 -fno-tree-vectorize",
        what=f"{_NAMES[top]} with {design.lanes} lanes",
    )
    index = verilator.cache_dir() / f"{recipe.digest(_source_digest(design))}.index"
    if index.is_file() and (known := verilator.cached(index.read_text(encoding="utf-8"))):
        return known
    from tidegate_hw.verilog import verilog_text

    from . import harness

    rtlil = {"board": harness.harness_rtlil, "core": harness.core_rtlil}[top](design)
    path = verilator.build_executable(recipe, rtlil.encode(), lambda: verilog_text(rtlil))
    verilator.write_cached(index, path.parent.name)
    return path


def _source_digest(design: Design) -> bytes:
    """Digest of all that the RTL of a design depends on."""
    files = [Path(__file__).with_name("harness.py")]
    for package in (tidegate_hw, tidegate.spec):
        files += sorted(Path(package.__path__[0]).rglob("*.py"))
    digest = hashlib.sha256(repr((astuple(design), importlib.metadata.version("amaranth"))).encode())
    for file in files:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.digest()
