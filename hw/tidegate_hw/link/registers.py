"""The registers that the host writes and the core reads; names, addresses and widths come from the spec."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.registers import PAGE, REGISTERS

from ..records.registers import STATUS_LAYOUT, registers_layout


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

    Latency: ``delay`` = 2 cycles from ``address`` to ``read_data``, ``known``, ``writable``, and to a ``write``, which
    takes 2 more to ``values``.
    Throughput: one access per cycle.
    Tested: through the link's bench, every address of the map and some beyond.
    """

    delay = 2

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
        here = {r: Signal(name=f"here_{r.name}") for r in REGISTERS if r.there(self.design)}
        write, beyond = Signal(), {}                # of registers by their bits here, and those that the host knows
        m.d.sync += write.eq(self.write)
        read, of_pages = Const(0, len(self.read_data)), {}
        for r, addressed in here.items():
            value = self.values[r.name] if r.writable else self.status[r.name]
            m.d.sync += addressed.eq(self.address == r.address)
            if page := r.address // PAGE:           # a tree, for long sums are slow and deep
                of_pages[page] = of_pages.get(page, Const(0, len(self.read_data))) | Mux(addressed, value, 0)
            else:
                read |= Mux(addressed, value, 0)
            if not r.writable:
                continue
            bits = len(value), r.most_bits(self.design)
            if bits not in beyond:
                beyond[bits] = Signal(name="beyond_{}_{}".format(*bits))
                m.d.sync += beyond[bits].eq(self.write_data[slice(*bits)] != 0)
            with m.If(write & addressed):
                m.d.sync += value.eq(Mux(beyond[bits], -1, self.write_data))
        for of_page in of_pages.values():
            read |= of_page
        m.d.sync += [
            self.read_data.eq(read), self.known.eq(Cat(here.values()) != 0),
            self.writable.eq(Cat(addressed for r, addressed in here.items() if r.writable) != 0),
        ]
        with m.If(self.unload):
            m.d.sync += self.values.LAYERS.eq(0)
        return m
