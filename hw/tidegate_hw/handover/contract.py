"""The members that both handovers share, and the place of a copying job."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Mux, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import SIGNAL

from ..records.event import group_layout
from ..records.gates import layer_layout, taken_signature
from ..records.job import copies_signature
from ..records.registers import logit_words
from ..records.trace import trace_signature


@dataclass(frozen=True)
class Place:
    """The accumulator words that a job copies: ``length`` words, the first of which is ``target``.

    ``turn``: words of one gate, for a handover that copies the gates of each neuron in turn; else 0.
    ``single``: it copies the single gate of each neuron in turn.
    ``gap``: the job begins with a cycle without a word, because its first word may be the last one that was added to.
    """

    target: Any
    length: Any
    turn: Any = 0
    gap: int = 0
    single: Any = 0


def again(design: Design, layer, registers, target, words) -> Place:
    """The accumulators that get bias columns again: all of a ``layer``, ``words`` from ``target`` on, or the logits,
    which come after the last layer."""
    logits = layer == design.layers
    return Place(Mux(logits, registers.LOGIT_TARGET, target), Mux(logits, logit_words(design, registers), words))


def handover_signature(design: Design) -> wiring.Signature:
    """Members of a handover, with directions as the handover sees them.

    copies : ``copies_signature(design)``, in
        The copies of kind GATES belong to a layer.  The jobs that close the layer follow each other without a pause.
    layer : ``layer_layout(design)``, in
        The layer that is closed; stable from a cycle before its first copy until not busy.
    room : 1, in
        The encoder can take more groups.
    o : ``taken_signature`` of ``group_layout(cell_rate, groups)``, out
        The layer's groups of neurons in order, for its encoder.
    values : cell_rate SIGNAL values of the group, ``late`` cycles after it, out
    trace : ``trace_signature(design)``, out
    clear : 1, in
        Strobe, while not busy: every state becomes 0.
    busy : 1, out
        Copies, groups or a clear are under way.
    """
    return wiring.Signature({
        "copies": In(copies_signature(design)), "layer": In(layer_layout(design)), "room": In(1),
        "o": Out(taken_signature(group_layout(design.cell_rate, design.neurons // design.cell_rate))),
        "values": Out(data.ArrayLayout(signed(SIGNAL.bits), design.cell_rate)),
        "trace": Out(trace_signature(design)), "clear": In(1), "busy": Out(1),
    })
