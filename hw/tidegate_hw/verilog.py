"""Amaranth → Verilog for simulators, and the digest by which a board names the RTL inside it."""

import hashlib
from collections.abc import Callable

from amaranth.back import rtlil
from amaranth.back import verilog as _verilog
from amaranth.lib.wiring import Component


def verilog(component: Component, name: str = "top") -> str:
    """Verilog of a component as module ``name``; ports are its signature's members, flattened as ``a__b``."""
    return _verilog.convert(component, name, emit_src=False, strip_internal_attrs=True)


def rtlil_text(component: Component, name: str = "top") -> str:
    """RTLIL of a component without source locations: the same text for the same hardware on every machine."""
    return rtlil.convert(component, name, emit_src=False)


def rtl_digest(make_top: Callable[[bytes], Component]) -> bytes:
    """First 16 bytes of the SHA-256 of a top level's RTLIL.

    ``make_top(digest)`` gives the top level that would answer IDENTIFY with ``digest``; the digest is that of
    the RTL which answers with zeros.
    """
    return hashlib.sha256(rtlil_text(make_top(bytes(16))).encode()).digest()[:16]
