"""Amaranth → Verilog for simulators, and the digest by which a board names the RTL inside it."""

import gc
import hashlib
from collections.abc import Callable

from amaranth.back import rtlil
from amaranth.back import verilog as _verilog
from amaranth.lib.wiring import Component


def verilog_text(rtlil: str) -> str:
    """Verilog of what ``rtlil_text`` gives, without a second elaboration."""
    return _verilog._convert_rtlil_text(rtlil, strip_internal_attrs=True)


def rtlil_text(component: Component, name: str = "top") -> str:
    """RTLIL of a component as module ``name``: the same text for the same hardware on every machine.

    Ports are the members of its signature, flattened as ``a__b``.  There are no source locations.
    """
    collects = gc.isenabled()
    gc.disable()            # its search through millions of new objects takes half of the time, and finds no garbage
    try:
        return rtlil.convert(component, name, emit_src=False)
    finally:
        if collects:
            gc.enable()


def rtl_digest(make_top: Callable[[bytes], Component]) -> bytes:
    """First 16 bytes of the SHA-256 of a top level's RTLIL.

    ``make_top(digest)`` gives the top level that would answer IDENTIFY with ``digest``; the digest is that of
    the RTL which answers with zeros.
    """
    return hashlib.sha256(rtlil_text(make_top(bytes(16))).encode()).digest()[:16]
