"""Bitstreams and their manifests: where they are, and whether a file is what its manifest says.

    bitstreams/<board>/manifest.json     {"board": "ulx3s", "bitstream": FILE, "sha256": HEX, "design_digest": HEX, ...}
    bitstreams/<board>/FILE
"""

import json
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ..spec import boards
from ..spec.boards import MANIFEST
from ..spec.design import Design
from ..spec.errors import TidegateError

BOARDS = tuple(boards.BOARDS)
VARIABLE = "TIDEGATE_BITSTREAMS"
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Manifest:
    """``board``: its name.  ``bitstream``: the file.  ``sha256``: of it.  ``design_digest``: what the core answers to
    IDENTIFY.  Both hexadecimal.  ``lanes`` of the core; ``fmax_mhz``: the fastest clock by nextpnr's timing; None if
    the manifest does not say.  ``clock_mhz`` of the board, ``design`` of the core; None likewise."""

    board: str
    bitstream: Path
    sha256: str
    design_digest: str
    lanes: int | None = None
    fmax_mhz: float | None = None
    clock_mhz: float | None = None
    design: Design | None = None

    def check(self) -> None:
        """TidegateError if the file is missing or not the one that the manifest was written for."""
        try:
            found = sha256(self.bitstream.read_bytes()).hexdigest()
        except OSError as error:
            raise TidegateError(f"cannot read the bitstream '{self.bitstream}' ({error.strerror}); "
                                f"run `tidegate build --board {self.board}`") from None
        if found != self.sha256.lower():
            raise TidegateError(f"'{self.bitstream}' is not the file that its manifest was written for (sha256 "
                                f"{found[:12]}…, not {self.sha256[:12]}…); run `tidegate build --board {self.board}`")


def read_manifest(path: Path) -> Manifest:
    """A manifest file; TidegateError if it is missing or lacks something."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        board, name, digest, core = (entries[key] for key in ("board", "bitstream", "sha256", "design_digest"))
        capacities = entries.get("capacities")
        lanes, fmax, clock = (entries.get(key) for key in ("lanes", "fmax_mhz", "clock_mhz"))
        return Manifest(str(board), path.parent / str(name), str(digest), str(core),
                        None if lanes is None else int(lanes), None if fmax is None else float(fmax),
                        None if clock is None else float(clock), None if capacities is None else Design(**capacities))
    except OSError as error:
        raise TidegateError(f"cannot read the manifest '{path}' ({error.strerror}); "
                            "it lies beside the bitstream that `tidegate build` makes") from None
    except (ValueError, KeyError, TypeError, RecursionError, TidegateError) as error:
        raise TidegateError(f"'{path}' is no manifest of a bitstream ({error!r}); build it again") from None


def bitstreams_folder(board: str, bitstream: Path | None = None) -> Path:
    """The folder of a board's bitstream and manifest.

    That of ``bitstream``, if given; else <board>/ in $TIDEGATE_BITSTREAMS, if set; else <board>/ in the first of these
    that has it: bitstreams/ here, in the checkout that this package is installed from, in the package.  TidegateError
    if there is none, or no such board.
    """
    if board not in BOARDS:
        raise TidegateError(f"there is no board '{board}'; there are {', '.join(BOARDS)}")
    if bitstream is not None:
        return bitstream.parent
    chosen = os.environ.get(VARIABLE)
    for root in [Path(chosen)] if chosen else _roots():
        if (root / board / MANIFEST).is_file():
            return root / board
    where = f" in '{chosen}' (${VARIABLE})" if chosen else ""
    raise TidegateError(f"there is no bitstream for {board}{where} yet; run `tidegate build --board {board}`")


def built_folder(board: str) -> Path:
    """Where a build puts a board's bitstream if not told otherwise.

    <board>/ in $TIDEGATE_BITSTREAMS, if set; else in bitstreams/ of the checkout that this package is installed from,
    or here if there is none.
    """
    chosen = os.environ.get(VARIABLE)
    return (Path(chosen) if chosen else (_of_checkout() or Path("bitstreams"))) / board


def _of_checkout() -> Path | None:
    checkout = _PACKAGE.parents[1]
    return checkout / "bitstreams" if (checkout / "pyproject.toml").is_file() else None


def _roots() -> list[Path]:
    installed_from = _of_checkout()
    return [Path("bitstreams"), *([installed_from] if installed_from else []),
            _PACKAGE / "bitstreams"]        # the last is what a wheel brings along
