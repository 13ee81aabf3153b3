"""What a frame would cost in 45 nm silicon: an estimate from counted operations and published energy per operation.

    weight memory         weight words · P · 8 bits, read
    multiply-accumulate   weight words · P · (an 8 x 12 bit product + a 24-bit addition)
    accumulators          weight words · P · 24 bits, read and written
    every frame           independent of events: accumulators copied for the cell, cell, encoders (``_every_frame``)

The figures are cited (``FIGURES``; ``python -m tidegate.spec.energy`` prints them).  Each scales to other widths:
products by the product of both widths, all others by the width.  A memory is made of banks of 64 bits.  Each bank costs
as much as the smallest cited memory that is at least as large; a write costs as much as a read.  Queues, control,
wires, clock cycles (busy or idle), leakage and the link are left out, because no cited figure fits them.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import TidegateError
from .formats import ACC_BITS, DELTA_BITS, SIGNAL, WEIGHT_BITS
from .layout import Layout

NOTE = ("An estimate, not a measurement, and never to be compared with one: counted operations times published "
        "energy per access in 45 nm ASIC silicon. It says nothing of what an FPGA draws: nothing of static power, "
        "clock tree and routing. Of use are the ratio of delta to dense on the same core, and where the energy goes.")

_HOROWITZ = ('M. Horowitz, "Computing\'s energy problem (and what we can do about it)", ISSCC 2014, Fig. 1.1.9 '
             "(45 nm, 0.9 V), doi:10.1109/ISSCC.2014.6757323")
_HAN = ('S. Han et al., "Learning both weights and connections for efficient neural networks", NIPS 2015, Fig. 1 '
        "(45 nm), arXiv:1506.02626")
# Texts that quote the values, by the letters of ``Figure.quoted``.
_QUOTED = {
    "a": "github.com/stillwater-sc/universal, include/sw/universal/energy/cost_models/generic_45nm.hpp",
    "b": "pmc.ncbi.nlm.nih.gov/articles/PMC8934428, table 3",
    "c": "github.com/CMU-SAFARI/sasiml, hw/energy_model.py",
    "d": "github.com/Bhargav-ram333/SpikingResformer, energy_memory_audit.py",
    "e": "github.com/binshi/models, software-optimization.md",
}


@dataclass(frozen=True)
class Figure:
    """A published energy: ``pj`` picojoules for one ``name`` of ``per``.

    ``units``: what ``per`` scales with: bits, or for a product the product of its operands' bits.
    ``source``: the publication.  ``quoted``: the texts of ``_QUOTED`` in which the value was checked, as the
    publication draws it in a figure.
    ``capacity``: bytes of a memory on chip, else None.
    """

    name: str
    pj: float
    per: str
    units: int
    source: str
    quoted: str
    capacity: int | None = None

    @property
    def pj_a_unit(self) -> float:
        return self.pj / self.units


ADD_8 = Figure("integer addition", 0.03, "8 bits", 8, _HOROWITZ, "a")
ADD_32 = Figure("integer addition", 0.1, "32 bits", 32, _HOROWITZ, "a, b")
MULTIPLY_8 = Figure("integer multiplication", 0.2, "8 x 8 bits", 8 * 8, _HOROWITZ, "a")
# Charged nowhere: beside MULTIPLY_8 it shows that products scale with both widths (3.0 and 3.1 fJ a bit x bit).
MULTIPLY_32 = Figure("integer multiplication", 3.1, "32 x 32 bits", 32 * 32, _HOROWITZ, "a, b")
SRAM = (
    Figure("SRAM of 8 kB", 10, "64-bit access", 64, _HOROWITZ, "a, b, c, d", 8 << 10),
    Figure("SRAM of 32 kB", 20, "64-bit access", 64, _HOROWITZ, "c, d", 32 << 10),
    Figure("SRAM of 1 MB", 100, "64-bit access", 64, _HOROWITZ, "c, d", 1 << 20),
)
REGISTERS = Figure("register file", 1, "32-bit access", 32, _HAN, "e")
DRAM_LOWER = Figure("DRAM, lower end", 1300, "64-bit access", 64, _HOROWITZ, "a, c, d")
DRAM_UPPER = Figure("DRAM, upper end", 2600, "64-bit access", 64, _HOROWITZ, "a, c, d")
FIGURES: tuple[Figure, ...] = (ADD_8, ADD_32, MULTIPLY_8, MULTIPLY_32, *SRAM, REGISTERS,
                               DRAM_LOWER, DRAM_UPPER)

COMPONENTS = ("weight_memory", "multiply_accumulate", "accumulators", "every_frame")


def memory(words: int, bits: int) -> Figure:
    """The figure for a memory on chip of ``words`` words of ``bits`` bits, in banks of 64 bits (or all, if fewer)."""
    bank = words * min(bits, 64) / 8
    for figure in SRAM:
        if figure.capacity is not None and bank <= figure.capacity:
            return figure
    raise TidegateError(f"there is no cited energy for a memory bank of {bank / 1024:.0f} kB; the largest has 1 MB")


def estimate(layout: Layout, weight_words: float, frames: float = 1, *, weights: Figure | None = None,
             accumulators: Figure | None = None) -> dict[str, float]:
    """Estimated energy in nJ by component (``COMPONENTS``), and their "total".  See ``NOTE``.

    ``weight_words``: words of events' columns read in all ``frames``: counted (sum of ``FrameResult.weight_words``) or
    expected.  ``weights``, ``accumulators``: what if these memories were of another kind (as ``DRAM_LOWER``,
    ``REGISTERS``) than on-chip SRAM of the design's size.
    """
    if not (weight_words >= 0 and frames >= 0):
        raise TidegateError(f"{weight_words:g} weight words in {frames:g} frames: neither can be negative")
    dense = layout.dense_words() * frames
    if weight_words > dense * (1 + 1e-9):
        raise TidegateError(f"{frames:g} frames cannot read {weight_words:g} weight words, dense mode reads {dense:g}; "
                            "give the number of frames and the layout that they ran with")
    design = layout.design
    weights = weights or memory(design.weight_words, design.lanes * WEIGHT_BITS)
    accumulators = accumulators or memory(design.acc_words, design.lanes * ACC_BITS)
    count = (weight_words + frames * layout.words_again()) * design.lanes       # with what layers get that consume
    picojoules = (
        count * WEIGHT_BITS * weights.pj_a_unit,
        count * (WEIGHT_BITS * DELTA_BITS * MULTIPLY_8.pj_a_unit + ACC_BITS * ADD_32.pj_a_unit),
        count * 2 * ACC_BITS * accumulators.pj_a_unit,
        frames * _every_frame(layout, accumulators),
    )
    parts = {name: pj / 1000 for name, pj in zip(COMPONENTS, picojoules, strict=True)}
    return parts | {"total": sum(parts.values())}


def _every_frame(layout: Layout, accumulators: Figure) -> float:
    """pJ per frame that do not depend on events.

    Accumulators: each is read once, and those of a layer are written to and read from the snapshot.  (Some of layer 0's
    are read together with its last feature; they are charged twice, in dense mode, too.)  Without a snapshot a word is
    read for each gate of each neuron.
    Cell, per neuron: its ``work`` in ``cells.py``.
    Encoder, per element: the anchor is read and written, v − v̂ computed and compared with Θ.
    """
    design, network = layout.design, layout.network
    elements = network.features + sum(layer.size for layer in network.layers)
    if design.snapshot:
        words = layout.acc_words + 2 * layout.logit_target
    else:
        words = sum(sum(layout.closing(l)) for l in range(len(network.layers))) + layout.logit_words
    copies = design.lanes * ACC_BITS * words * accumulators.pj_a_unit
    small = SRAM[0].pj_a_unit           # tables, h and anchors: each bank is far below the smallest that is cited
    cells = sum(layer.size * ((work.looked_up + work.state) * small + work.products * MULTIPLY_8.pj_a_unit
                              + work.added * ADD_8.pj_a_unit)
                for layer in network.layers if (work := layer.cell.work))
    encoder = 2 * SIGNAL.bits * (small + ADD_8.pj_a_unit)
    return copies + cells + elements * encoder


def energy_comparison(layout: Layout, weight_words: float, frame_rate: float | None = None,
                      seconds: float = 1.0) -> dict:
    """Delta against dense mode of the same core, as plain data with ``NOTE`` and sources; energies in nJ.

    ``weight_words``: per frame.  ``frame_rate``: frames per second; without it (None) ``second`` and ``decision`` are
    None.  ``seconds``: length of the sound that a decision takes.
    """
    if not 0 < seconds < math.inf:
        raise TidegateError(f"a decision takes some seconds of sound, not {seconds:g}")
    words = {"delta": weight_words, "dense": layout.dense_words()}

    def totals(weights: Figure | None = None, accumulators: Figure | None = None) -> dict[str, float]:
        return {mode: estimate(layout, n, weights=weights, accumulators=accumulators)["total"]
                for mode, n in words.items()}

    def of(frames: float) -> dict[str, float]:
        return {mode: nj * frames for mode, nj in total.items()}

    total = totals()
    decision = frame_rate and {"seconds": seconds, "frames": frame_rate * seconds, **of(frame_rate * seconds)}
    return {
        "note": NOTE, "unit": "nJ", "weight_words": words,
        "frame": {mode: estimate(layout, n) for mode, n in words.items()},
        "reduction": total["dense"] / total["delta"],
        "second": frame_rate and of(frame_rate), "decision": decision,
        "what_if": {"accumulators_in_registers": totals(accumulators=REGISTERS),
                    "weights_in_dram": [totals(weights=figure) for figure in (DRAM_LOWER, DRAM_UPPER)]},
        "sources": _once(f.source for f in FIGURES),
        "figures": [{"name": f.name, "pj": f.pj, "per": f.per, "source": f.source} for f in FIGURES],
    }


def _once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def figures_table() -> str:
    """The cited figures as a Markdown table, and where they are from."""
    sources = _once(f.source for f in FIGURES)
    rows = [f"| {f.name} | {f.pj:g} | {f.per} | [{sources.index(f.source) + 1}] | {f.quoted} |\n" for f in FIGURES]
    notes = [f"\n[{n}] {source}.\n" for n, source in enumerate(sources, 1)]
    notes += ["\nThe publications draw these values in a figure; they were checked in texts that quote them:\n\n",
              *(f"- {letter}: {text}\n" for letter, text in _QUOTED.items())]
    return "| operation | pJ | per | source | checked in |\n|---|---|---|---|---|\n" + "".join(rows + notes)


if __name__ == "__main__":
    print(figures_table(), end="")
