"""The registers of the map (``tidegate.spec.registers``) as layouts."""

from amaranth.hdl import Array, Module, Signal, unsigned
from amaranth.lib import data

from tidegate.spec.design import Design
from tidegate.spec.registers import REGISTERS

STATUS_LAYOUT = data.StructLayout({r.name: unsigned(r.bits) for r in REGISTERS if not r.writable})

# the writable registers as the host writes them
REGISTERS_LAYOUT = data.StructLayout({r.name: unsigned(r.bits) for r in REGISTERS if r.writable})


def registers_layout(design: Design) -> data.StructLayout:
    """The layout of a design's registers, each as wide as the design can use."""
    return data.StructLayout({r.name: unsigned(r.width(design)) for r in REGISTERS if r.writable and r.there(design)})


def logit_words(design: Design, registers):
    """Accumulator words of the logits."""
    return (registers.CLASSES + design.lanes - 1) // design.lanes


def select(registers, name: str, count: int, index):
    """Register ``name`` with the number ``index``, below ``count``; combinational."""
    return registers[f"{name}0"] if count == 1 else Array(registers[f"{name}{n}"] for n in range(count))[index]


def choose(m: Module, registers, name: str, numbers: range, index):
    """The register ``name`` of the ``index``-th of ``numbers``, one cycle later; with one number, at once."""
    if len(numbers) == 1:
        return registers[f"{name}{numbers[0]}"]
    chosen = Signal.like(registers[f"{name}{numbers[0]}"], name=f"chosen_{name}", reset_less=True)
    m.d.sync += chosen.eq(Array(registers[f"{name}{n}"] for n in numbers)[index])
    return chosen
