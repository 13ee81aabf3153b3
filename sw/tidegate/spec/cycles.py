"""How many cycles a frame takes: exactly, from the elements that fired, or on average, from their number.

The lanes serve one job after the other (``hw/tidegate_hw/stages/scheduler.py``), without a gap if the next job comes in
time:

    close layer 0       4w words: its last feature event's column, copied on the way, then the gates that it does not
                        feed (nh of a GRU: w words; none of an LSTM)
    features of the next frame but the last event, then hidden events of layer 0, as they come
    close layer 1, its hidden events, …
    copy the logits     one cycle of rest, and their words

With w words a gate, n events of columns of c words, and g_k the group of cell_rate neurons of the k-th event, layer l
takes from its closing to the next job

    3w + max(w + x + n·c,  loop + max_k(g_k + (n − k + 1)·c),  loop + groups)

where ``loop`` is the latency through the layer's cell (see the function), 4 is the number of gates and 3 that of all
but the last, and x (of layer 0) are the words of the next frame's feature events except the last.  A frame that keeps
the lanes busy costs its words, those that close its layers (of a GRU w for layer 0 and 4w for each deeper one), one
cycle of rest, and the logits' words.  ``frame_cycles`` computes the same job by job, and equals the RTL's counter on
every frame; ``steady_cycles`` is this formula for events that are spread evenly.

A core without a snapshot closes layer 0 after its last feature event's column, and every layer by 4 words for each of
its H neurons, while events wait; with g_k the k-th event's neuron, that takes

    max(4·H + x + n·c,  loop + max_k(4·g_k + (n − k + 1)·c),  loop + 4·(H − 1) + 1)

and words of the logits but the last cost the lanes WORD_REST + P cycles each.
"""

from collections.abc import Sequence

import numpy as np

from .cells import Cell
from .layer import Layer
from .layout import Layout
from .stage_times import (
    ADDRESSER,
    ENCODER,
    HANDED,
    LANES,
    LOGITS,
    NEVER,
    RESULT,
    ROOM,
    SCHEDULER,
    SNAPSHOT,
    SNAPSHOT_ONLY,
    WORD_LOGITS,
    WORD_REST,
    ConvolverTimes,
    EncoderTimes,
    FeatureTimes,
    LaneTimes,
    encoder_rest,
)

_JOB = 2            # from one job to the next, however short


def _fuses(layout: Layout) -> bool:
    """Whether the last feature event's column also copies layer 0's accumulators, and so closes it."""
    network = layout.network
    return layout.design.snapshot and network.features_after == 0 and not network.convolves(0)


def loop(cell: Cell, snapshot: bool = True) -> int:
    """Cycles from the last gate's first word fetched (without a snapshot: the first gate's) to that of the first hidden
    event."""
    handover = _snapshot(cell) + cell.delay if snapshot else cell.serial_delay
    return LANES + handover + ENCODER + SCHEDULER + ADDRESSER


def _snapshot(cell: Cell) -> int:
    """Cycles from the copy of the last gate's first word to the first group."""
    return SNAPSHOT if len(cell.gates) > 1 else SNAPSHOT_ONLY


def steady_cycles(layout: Layout, events: Sequence[float]) -> float:
    """Cycles per frame when frames follow each other; ``events[s]``: events of signal s per frame, spread evenly."""
    design, network = layout.design, layout.network
    total = 1.0 + max(1, layout.logit_words) + network.classifier.columns_again * max(_JOB, layout.logit_words)
    features, *lengths = (max(_JOB, layout.mean_words(s)) for s in range(network.signals))
    if not _fuses(layout):          # the last feature event's column copies nothing
        total += min(events[0], 1) * features
    for l, (layer, length) in enumerate(zip(network.layers, lengths, strict=True)):
        size, n, gates = layout.sizes[l], events[l + 1], len(layer.cell.gates)
        # what the lanes do besides copying, and adding the layer's own events
        ahead = layer.columns_again * max(_JOB, gates * layout.words[l]) + (
            max(0.0, events[0] - 1) * features if l == network.features_after else 0.0)
        spacing = size / (n + 1)                                # neurons from one event to the next
        start = loop(layer.cell, design.snapshot)
        if design.snapshot:
            groups = -(-size // design.cell_rate)
            spacing /= design.cell_rate
            before, last = _before_last_gate(layout, l)
            total += before + max(last + ahead + n * length, start + spacing + n * length,
                                  start + n * spacing + min(n, 1) * length, start + groups)
        else:
            total += max(sum(layout.closing(l)) + ahead + n * length,
                         start + gates * min(spacing, size - 1) + n * length,
                         start + gates * min(n * spacing, size - 1) + min(n, 1) * length,
                         start + gates * (size - 1) + 1)
    features = -(-network.features // design.encoder_rate) + encoder_rest(design)
    if design.snapshot:
        return max(total, features, network.classes + ADDRESSER + LANES + LOGITS + 1 + RESULT)
    more = max(1, layout.logit_words) - 1
    rest = more * (WORD_REST + design.lanes)
    classes = network.classes - more * design.lanes + ADDRESSER + LANES + WORD_LOGITS + 1 + RESULT
    return max(total - more + rest, features, rest + classes)


def latency_cycles(layout: Layout, events: Sequence[float]) -> int:
    """Cycles of one frame alone, from its first features to its last logit; ``events`` as in ``steady_cycles``."""
    fired = []
    for s, n in enumerate(events):
        elements = layout.network.elements(s)
        fired.append(np.zeros((1, elements), bool))
        spread = np.arange(1, round(n) + 1) * elements // (round(n) + 1)
        fired[-1][0, np.minimum(spread, elements - 1)] = True
    return int(frame_cycles(layout, fired, apart=True)[0])


def frame_cycles(layout: Layout, fired: Sequence[np.ndarray], apart: bool = False) -> np.ndarray:
    """Cycles of each frame, as the core counts them, with inputs and outputs that never stall: int (T,).

    ``fired[s]``: bool (T, elements of signal s), which elements are sent in each frame.  The frames follow each
    other as fast as the core takes them, from idle; or with ``apart`` each comes when the one before is done.
    """
    design = layout.design
    # events of each group: [signal][frame]
    counts = [_groups(events, layout, s) for s, events in enumerate(fired)]
    network, columns, layers = layout.network, layout.columns, layout.network.layers
    images = [network.convolves(s) for s in range(network.signals)]
    # of signals that a convolution hears, the elements that were sent, in order
    sent = [iter(np.nonzero(events)[1].tolist()) if image else iter(()) for events, image in zip(
        fired, images, strict=True)]
    lanes = ConvolverTimes(design.choices) if any(images) else LaneTimes(design.choices)
    features, result = FeatureTimes(design), []
    for count in counts[0][: 1 if apart else None]:
        features.come(count)
    state, done = 0, -1             # first cycle of the scheduler's present state; last logit of the frame before
    fuses = _fuses(layout)

    def add(cycle: int, s: int) -> None:
        """The lanes add the next event of a signal."""
        if isinstance(lanes, ConvolverTimes) and images[s]:
            lanes.serve_runs(cycle, layout.image_runs(s, next(sent[s])))
        else:
            lanes.serve(cycle, columns[s].length, columns[s].target)

    def add_feature() -> None:
        cycle = lanes.free(max(state, features.more()))
        add(cycle, 0)
        features.take(cycle)

    def add_bias(layer: Layer, target: int, words: int) -> int:
        """The bias columns that a layer gets again; gives the cycle of the scheduler's next state."""
        after = state
        for _ in range(layer.columns_again):
            cycle = lanes.free(after)
            lanes.serve(cycle, words, target)
            after = cycle + 1
        return after

    for t in range(len(fired[0])):
        if apart and t:
            features.come(counts[0][t], done + 1 + RESULT)
        while features.more() < NEVER:
            add_feature()
        closed = lanes.free(max(state, features.last()))
        if not fuses and not features.empty():
            add(closed, 0)
            state = closed + 1
            features.close(closed)
            closed = lanes.free(state)
        else:
            features.close(closed)
        for l, layer in enumerate(layers):
            if l:
                closed = lanes.free(state)
            fed, rest = layout.closing(l)
            first, gates, words = layout.layer_target[l], len(layer.cell.gates), layout.words[l]
            if design.snapshot:
                start, state = lanes.serve(closed, fed, first), closed + 1
            else:
                begins = first + (words if gates > 1 else 0)
                start, state = lanes.serve(closed, fed, begins, first + words - 1), closed + 1
            if rest:
                copied = lanes.free(state)
                lanes.serve(copied, rest, first + fed)
                state = copied + 1
            state = add_bias(layer, first, gates * words)
            if design.snapshot:
                output = EncoderTimes(HANDED + layer.cell.delay, ROOM)
                group = start + _before_last_gate(layout, l)[0] + LANES + _snapshot(layer.cell)
                output.add(group - HANDED, counts[l + 1][t])
            else:
                output = EncoderTimes()
                output.add(start + LANES + layer.cell.serial_delay, counts[l + 1][t], interval=gates)
            selected_at = -1                    # of the event before
            for left in reversed(range(1 + sum(counts[l + 1][t]))):
                taken = max(output.there(), selected_at + 1)
                output.take(taken)
                offered = max(state, taken + SCHEDULER, lanes.selected + 1)
                # features that are there come first
                while l >= network.features_after and features.more() <= offered:
                    add_feature()
                    offered = max(state, taken + SCHEDULER, lanes.selected + 1)
                if left:
                    selected_at = lanes.free(offered)
                    add(selected_at, l + 1)
                else:                           # the end
                    state = offered + 1
        last, room = 0, done + 1 + RESULT if t else 0
        for n, (classes, words) in enumerate(_logit_jobs(layout)):
            chosen = lanes.free(max(state, room))
            copied = lanes.serve(chosen, words, layout.logit_target + n, gap=1)
            first = copied + LANES + (LOGITS if design.snapshot else WORD_LOGITS)
            last = first + classes - 1 if classes else copied + LANES + 1
            state, room = chosen + 1, last + 1
        state = add_bias(network.classifier, layout.logit_target, layout.logit_words)
        result.append(last - max(done, features.begun[t] - 1))
        done = last
    return np.array(result, np.int64)


def _before_last_gate(layout: Layout, l: int) -> tuple[int, int]:
    """Words that are copied before those of layer l's last gate, and these."""
    words = layout.words[l]
    return (len(layout.network.layers[l].cell.gates) - 1) * words, words


def _logit_jobs(layout: Layout) -> list[tuple[int, int]]:
    """Logits and words of each job that copies a frame's logits."""
    classes, lanes = layout.network.classes, layout.design.lanes
    if layout.design.snapshot:
        return [(classes, max(1, layout.logit_words))]
    return [(min(lanes, classes - first), 1) for first in range(0, max(1, classes), lanes)]


def _groups(fired: np.ndarray, layout: Layout, signal: int) -> np.ndarray:
    """Events in each group of elements of a signal: int (T, groups)."""
    width = layout.design.cell_rate if signal else layout.design.encoder_rate
    padded = np.zeros((len(fired), -(-layout.numbered(signal) // width) * width), np.int64)
    padded[:, layout.numbers(signal)] = fired
    return padded.reshape(len(fired), -1, width).sum(2)
