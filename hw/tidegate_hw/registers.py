"""The registers that the host writes and the core reads; names, addresses and widths come from the spec."""

from amaranth.hdl import Array, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.registers import REGISTERS

STATUS_LAYOUT = data.StructLayout({r.name: unsigned(r.bits) for r in REGISTERS if not r.writable})

# the writable registers as the host writes them
REGISTERS_LAYOUT = data.StructLayout({r.name: unsigned(r.bits) for r in REGISTERS if r.writable})


def registers_layout(design: Design) -> data.StructLayout:
    """... and as wide as a design can make use of."""
    return data.StructLayout({r.name: unsigned(r.width(design)) for r in REGISTERS if r.writable})


def choose(m: Module, registers, name: str, numbers: range, index):
    """Of the registers ``name`` with ``numbers`` the one at ``index``, a cycle later; if there is one, it as it is."""
    if len(numbers) == 1:
        return registers[f"{name}{numbers[0]}"]
    chosen = Signal.like(registers[f"{name}{numbers[0]}"], name=f"chosen_{name}", reset_less=True)
    m.d.sync += chosen.eq(Array(registers[f"{name}{n}"] for n in numbers)[index])
    return chosen


class Registers(wiring.Component):
    """All registers of the map, with one port that reads and writes by address.

        values[name] <- kept(data)      on write, if the address names a writable register (``spec.registers``)

    Parameters
    ----------
    design : Design

    Members
    -------
    address : unsigned(16), in
        Of the register that is read or written.
    write : 1, in
        Write ``write_data`` to the addressed register; without effect where ``writable`` would be 0.
    write_data : unsigned(32), in
        Bits above the register's are dropped; what is too large for the design saturates.
    unload : 1, in
        Set LAYERS to 0: no model.
    read_data : unsigned(32), out
        Zero-extended value of the addressed register, 0 if there is none.
    known, writable : 1, out
        Whether the addressed register exists, and whether the host may write it.
    status : STATUS_LAYOUT, in
        Values of the read-only registers.
    values : ``registers_layout(design)``, out
        Values of the writable ones.

    Latency: ``delay`` = 1 cycle from ``address`` (and ``values``) to ``read_data``, ``known``, ``writable``; 2 from
    ``write`` to ``values``, for which ``address`` and ``write_data`` must have been stable for a cycle.
    Throughput: one access per cycle.
    Tested: through the link's bench, every address of the map and some beyond.
    """

    delay = 1

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "address": In(16),
            "write": In(1),
            "write_data": In(32),
            "unload": In(1),
            "read_data": Out(32),
            "known": Out(1),
            "writable": Out(1),
            "status": In(STATUS_LAYOUT),
            "values": Out(registers_layout(design)),
        })

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [self.known.eq(0), self.writable.eq(0), self.read_data.eq(0)]
        with m.Switch(self.address):
            for r in REGISTERS:
                with m.Case(r.address):
                    value = self.values[r.name] if r.writable else self.status[r.name]
                    m.d.sync += [self.known.eq(1), self.writable.eq(r.writable), self.read_data.eq(value)]
        for r in REGISTERS:
            if r.writable:
                value, write = self.values[r.name], Signal(name=f"write_{r.name}")
                m.d.sync += write.eq(self.write & (self.address == r.address))
                with m.If(write):
                    beyond = self.write_data[len(value) : r.bits] != 0
                    m.d.sync += value.eq(Mux(beyond, -1, self.write_data))
        with m.If(self.unload):
            m.d.sync += self.values.LAYERS.eq(0)
        return m
