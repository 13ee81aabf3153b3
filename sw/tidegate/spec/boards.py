"""The boards that bitstreams are built for, with the facts that driver, ``fit`` and build need."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .design import ADDRESSERS, Design
from .errors import TidegateError

BAUD = 1_000_000        # of a board's UART, 8N1
MANIFEST = "manifest.json"      # beside a bitstream


@dataclass(frozen=True)
class BoardSpec:
    """A board.  ``device``: FPGA and package.  ``clock``: of the core, Hz.  ``designs``: what fits, best first.
    ``slower``: other clocks that a bitstream can be built for, Hz."""

    name: str
    title: str
    device: str
    clock: int
    designs: tuple[Design, ...]
    slower: tuple[int, ...] = ()

    def at(self, clock: int) -> "BoardSpec":
        """The board with another clock, Hz; TidegateError if it cannot make that."""
        if clock not in (self.clock, *self.slower):
            raise TidegateError(f"{self.name} has no clock of {clock / 1e6:g} MHz; choose "
                                f"{', '.join(f'{hertz / 1e6:g}' for hertz in (self.clock, *self.slower))}")
        return replace(self, clock=clock)

    def design(self, lanes: int | None = None, cells: Sequence[str] | None = None, rules: Sequence[str] | None = None,
               features: int | None = None) -> Design:
        """The design with this many lanes (None: the first), with ``cells``, ``rules``, ``features`` (None: its own).

        With cells of fewer gates it has only the accumulator words that all neurons need.  TidegateError if there is
        none.
        """
        for design in self.designs:
            if lanes in (None, design.lanes):
                other = {"cells": cells and tuple(cells), "rules": rules and tuple(rules), "features": features}
                chosen = replace(design, **{name: value for name, value in other.items() if value is not None})
                if chosen.gates == design.gates:
                    return chosen
                words = -(-chosen.neurons // chosen.lanes) + chosen.layers - 1      # of one gate
                needed = chosen.gates * words + -(-chosen.classes // chosen.lanes)
                return replace(chosen, acc_words=min(design.acc_words, needed))
        raise TidegateError(f"there is no design with {lanes} lanes for {self.name}; "
                            f"choose {', '.join(str(d.lanes) for d in self.designs)}")


BOARDS = {board.name: board for board in (
    BoardSpec("icebreaker", "iCEBreaker", "iCE40UP5K-SG48", 24_000_000, (
        Design(lanes=8, cell_rate=1, encoder_rate=1, weight_words=16384, acc_words=128, features=64, neurons=240,
               classes=16, layers=1, snapshot=False),)),
    BoardSpec("ulx3s", "ULX3S-85F", "LFE5U-85F-6BG381C", 100_000_000, (
        Design(lanes=128, cell_rate=8, encoder_rate=8, weight_words=2560, acc_words=15, features=64, neurons=512,
               classes=32),
        # for convolutions: few lanes, and as many neurons as there is memory for
        Design(lanes=16, cell_rate=4, encoder_rate=4, weight_words=8192, acc_words=1024, features=784, neurons=16384,
               classes=16, layers=12, cells=("unit",), rules=("diffuse",), addressers=ADDRESSERS)),
        slower=(75_000_000, 50_000_000)),
)}


def board_spec(name: str) -> BoardSpec:
    """A board by name; TidegateError if there is none."""
    if name not in BOARDS:
        raise TidegateError(f"there is no board '{name}'; choose {', '.join(BOARDS)}")
    return BOARDS[name]
