"""Files that are whole or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """``NAME.part`` beside a file; what is written there gets the file's name in the end.

    So a full disk, a kill or a power cut leaves the old file or the new one.  For one writer at a time; after an error
    there is no part either.  A link stays a link to the new file, and a device is written as it is.
    """
    path = Path(path)
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file():        # such as /dev/null
        yield path
        return
    part = path.with_name(path.name + ".part")
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
