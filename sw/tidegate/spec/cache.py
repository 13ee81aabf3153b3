"""Where what can be made again is kept: $TIDEGATE_CACHE, else tidegate/ in $XDG_CACHE_HOME, else in ~/.cache."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder, which need not be there."""
    if chosen := os.environ.get("TIDEGATE_CACHE"):
        return Path(chosen).expanduser()
    above = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(above) if os.path.isabs(above) else Path.home() / ".cache") / "tidegate"
