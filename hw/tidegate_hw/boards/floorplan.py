"""Where the memories and multipliers of the ULX3S' 128 lanes, cell and link are on its LFE5U-85F.

Left alone, nextpnr puts the logic of all lanes into one crowd, far from the memories and multipliers that have to be
elsewhere because there are no more of them near; the router does not get through.  Each of the characters 0–9 and a–v
is four lanes, with four multipliers that are neighbours, and five memories.  Four characters are a bank; its registers
reach all of it in a cycle.  What is left in the middle is the cell's and the link's, which would otherwise have to take
what is left at the edge.
"""

from tidegate.spec.cells import GRU
from tidegate.spec.design import Design

from ..fanout import SPAN

DESIGN_LANES, FOURS = 128, "0123456789abcdefghijklmnopqrstuv"
# the device's rows of multipliers and memories have 13 groups of four
GROUPS_X = (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)
MULTIPLIERS = {         # by y
    10: "hi0.123.456.7",
    34: "gfedc....ba98",
    58: "jklmnopqrstuv",
}
WEIGHTS = {             # of words 0–2047: one memory a lane
    22: "hi0.123.456.7",
    46: "gf.edc..ba.98",
    70: "jklmn....stuv",
    82: ".....opqr....",
}
MORE_WEIGHTS = {        # of words from 2048: one memory for four lanes; by y, then group
    22: {3: "hi01", 7: "234", 11: "567"},
    46: {2: "gfed", 6: "c", 10: "ba98"},
    82: {0: "j", 1: "k", 2: "l", 3: "m", 4: "nop", 9: "sqr", 10: "t", 11: "u", 12: "v"},
}
CELL_MULTIPLIERS = tuple(f"X{x}/Y34/MULT18_{site}" for x, site in (
    (49, 0), (50, 1), (53, 4), (54, 5), (58, 0), (59, 1), (62, 4), (63, 5),
    (69, 0), (70, 1), (73, 4), (74, 5), (78, 0), (79, 1), (82, 4), (83, 5)))
CELL_MEMORIES = (
    *(f"X{x}/Y70/EBR{site}" for x, site in ((49, 0), (51, 1), (53, 2))),
    *(f"X{x}/Y46/EBR{site}" for x, site in ((60, 1), (62, 2), (64, 3), (69, 0), (71, 1), (73, 2), (75, 3))),
    *(f"X{x}/Y70/EBR{site}" for x, site in ((62, 2), (64, 3), (69, 0), (71, 1), (73, 2), (75, 3), (78, 0), (80, 1),
                                            (82, 2))),
)
LINK = {
    "answers.ram.0.0": "X55/Y70/EBR3", "packets.ram.0.0": "X58/Y70/EBR0",
    "packets.encoder.ring.0.0": "X60/Y70/EBR1",
}


def floorplan(design: Design) -> list[tuple[str, str, str]]:
    """Name (a pattern), type and site of each cell that has a place; none for other designs than the board's."""
    if design.lanes != DESIGN_LANES or design.cells != (GRU.name,):
        return []

    def cell(kind: str, lane: int, span: int) -> str:
        """Of a bank of ``span`` parts."""
        return f"{core}lanes.bank{lane // span}.{kind}{lane % span}"

    core, neurons = "core.top.core.", range(design.cell_rate)
    cell_core = f"{core}handover.cell."
    multipliers = [f"{cell_core}{name}{k}_*" for k in neurons for name in ("product", "scaled")]
    memories = [
        # where the encoder is, its queue is, which is near to scheduler and addresser
        *(f"{core}h_encoder.anchors.0.{k}" for k in range(3)), *(f"{cell_core}sigmoid_{k}.0.0" for k in neurons),
        *(f"{cell_core}tanh_{k}.0.0" for k in neurons[::2]), *(f"{cell_core}state.0.{k}" for k in range(4)),
    ]
    places = [
        *((name, "MULT18X18D", site) for name, site in zip(multipliers, CELL_MULTIPLIERS, strict=True)),
        *((name, "DP16KD", site) for name, site in zip(memories, CELL_MEMORIES, strict=True)),
        *((f"core.top.link.{name}", "DP16KD", site) for name, site in LINK.items()),
    ]
    for y, groups in MULTIPLIERS.items():
        for x, four in zip(GROUPS_X, groups, strict=True):
            for k, (dx, site) in enumerate(((0, 0), (1, 1), (4, 4), (5, 5)) if four != "." else ()):
                name = cell("product", 4 * FOURS.index(four) + k, SPAN) + "_*"
                places.append((name, "MULT18X18D", f"X{x + dx}/Y{y}/MULT18_{site}"))
    for y, groups in WEIGHTS.items():
        for x, four in zip(GROUPS_X, groups, strict=True):
            for k in range(4 if four != "." else 0):
                name = cell("weights0.0.", 4 * FOURS.index(four) + k, SPAN)
                places.append((name, "DP16KD", f"X{x + 2 * k}/Y{y}/EBR{k}"))
    for y, groups in MORE_WEIGHTS.items():
        for group, fours in groups.items():
            for k, four in enumerate(fours):
                name = cell("weights1.0.", FOURS.index(four), SPAN // 4)
                places.append((name, "DP16KD", f"X{GROUPS_X[group] + 2 * k}/Y{y}/EBR{k}"))
    return places
