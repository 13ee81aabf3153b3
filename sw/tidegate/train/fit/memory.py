"""Freed memory stays with the process: a training step allocates and frees the same megabytes again and again."""

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4     # malloc.h of glibc
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Tell glibc's malloc not to give large blocks back; elsewhere nothing happens.

    A page that comes back from the system is a fault and is cleared again; a training step in a Dask worker, whose
    malloc is told to trim, spends a third of its time on that.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
