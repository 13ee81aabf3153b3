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
from .design import Design
from .layout import Layout, WordRun
from .network import Layer

# Latencies of the stages: ``delay`` of the components in hw/, as tests/rtl/test_core.py asserts.
ADDRESSER = 4       # job selected → first word fetched
CONVOLVER = 7       # in networks with convolutions: job selected → its first run can be offered
LANES = 4           # fetched → copied
SNAPSHOT = 1        # the last gate's first word copied → first group
SNAPSHOT_ONLY = 3   # the same, for a cell with a single gate
ENCODER = 3         # a group's values there → its first event; features are there a cycle after their group is taken
REST = 3            # an encoder, after the last group of a frame
LEAKS = 2           # ... and in designs with a snapshot and errors that leak
QUEUE = 2           # a group that had to wait in the encoder → its events (the encoder's bench asserts it)
SCHEDULER = 1       # a hidden event comes → its column is selected
LOGITS = 3          # copied → first logit
RESULT = 4          # the last logit is taken → the frame's counts are there, which the next frame's logits wait for
# and the cell's own ``delay`` or ``serial_delay``, see ``cells.py``
WORD_LOGITS = 1     # without a snapshot: a word copied → its first logit
WORD_REST = ADDRESSER + 1 + LANES + WORD_LOGITS            # with the P logits of a word: its fetch → that of the next
# Groups that may wait in an encoder's queue when the next is taken: of features, and of neurons, which a snapshot hands
# over HANDED cycles before they leave it.
FEATURE_ROOM, ROOM, HANDED = 27, 8, 3
_JOB = 2            # from one job to the next, however short
NEVER = 1 << 62


def _fuses(layout: Layout) -> bool:
    """Whether the last feature event's column also copies layer 0's accumulators, and so closes it."""
    network = layout.network
    return layout.design.snapshot and network.features_after == 0 and not network.convolves(0)


def _rest(design: Design) -> int:
    return REST + LEAKS * (design.diffuses and design.snapshot)


def loop(cell: Cell, snapshot: bool = True) -> int:
    """Cycles from the last gate's first word fetched (without a snapshot: the first gate's) to that of the first hidden
    event."""
    handover = _snapshot(cell) + cell.delay if snapshot else cell.serial_delay
    return LANES + handover + ENCODER + SCHEDULER + ADDRESSER


def _snapshot(cell: Cell) -> int:
    """Cycles from the copy of the last gate's first word to the first group."""
    return SNAPSHOT if len(cell.gates) > 1 else SNAPSHOT_ONLY


class _Output:
    """The output of an encoder: events and ends, one after the other, each from the cycle on in which it is there.

    ``late``: cycles from a group's being handed over to its values.  ``room``: a group is handed over only if no more
    groups than these waited in the encoder's queue two cycles before; None: always.
    """

    def __init__(self, late: int = 0, room: int | None = None):
        self.late, self.room = late, room
        self.begun: list[int] = []      # when the first group of each frame was handed over
        # groups: the cycle in which the first of a frame can be handed over (else None), its distance, what it sends
        self._groups: list[tuple[int | None, int, int]] = []
        self._next, self._left, self._there, self._free, self._handed = 0, 0, NEVER, 0, -1
        # groups that waited: those that came to the queue, and those that left it, by now; and their cycles
        self._in, self._out, self._came, self._went = 0, 0, [], []

    def add(self, cycle: int, counts: Sequence[int], interval: int = 1, rest: int = 0) -> None:
        """The groups of a frame, with so many events each.  The first is handed over in ``cycle``, or as soon as it can
        be, ``rest`` cycles after the frame before; each further one follows ``interval`` cycles later."""
        for j, count in enumerate(counts):
            self._groups.append((None if j else cycle, interval if j else 1 + rest, count + (j == len(counts) - 1)))
        self._load()

    def there(self) -> int:
        """From which cycle on the next event or end is there; NEVER if none is known yet."""
        return self._there

    def take(self, cycle: int) -> None:
        """It is taken, in the first cycle in which it is there or later."""
        self._left -= 1
        self._there, self._free = cycle + 1 if self._left else NEVER, cycle
        self._load()

    def _load(self) -> None:
        while not self._left and self._next < len(self._groups):
            handed, self._left = self._hand_over(*self._groups[self._next]), self._groups[self._next][2]
            self._next += 1
            if not self._left:
                continue
            here = handed + self.late + ENCODER - 1         # what the group sends is known
            left = here
            if self._free > here:
                left = max(here + QUEUE, self._free)
                self._came.append(here)
                self._went.append(left)
            self._there = 1 + left

    def _hand_over(self, cycle: int | None, interval: int, _: int) -> int:
        """The cycle in which the next group is handed over; the groups before it have left the queue."""
        handed = self._handed + interval if cycle is None or self.begun else cycle
        if cycle is not None:
            handed = max(handed, cycle)
        while self.room is not None:
            while self._in < len(self._came) and self._came[self._in] <= handed - 2:
                self._in += 1
            while self._out < len(self._went) and self._went[self._out] <= handed - 2:
                self._out += 1
            if self._in - self._out <= self.room:
                break
            handed = self._went[self._out] + 2
        if cycle is not None:
            self.begun.append(handed)
        self._handed = handed
        return handed


def event_times(there: int, counts: Sequence[int]) -> list[int]:
    """Cycles in which the events of a frame, and then its end, leave an encoder if all are taken at once.

    ``there``: cycle in which the values of the first group are valid.  ``counts``: events of each group.
    """
    output, times = _Output(), []
    output.add(there, counts)
    for _ in range(sum(counts) + 1):
        times.append(output.there())
        output.take(times[-1])
    return times


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
    features = -(-network.features // design.encoder_rate) + _rest(design)
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


class _Lanes:
    """The addresser: three jobs wait while one is served.

    ``clashes``: it looks whether a job begins with the accumulator word that the job before ended with.
    """

    def __init__(self, clashes: bool):
        self.clashes, self.selected, self.length, self.last = clashes, -2, 0, -1
        self.fetched = [-1, -1, -1]         # first words of the last jobs, the latest at last

    def free(self, cycle: int) -> int:
        """First cycle from this one on in which the next job can be selected."""
        return max(cycle, self.selected + 2, self.fetched[0])

    def serve(self, cycle: int, length: int, first: int, last: int | None = None, gap: int = 0) -> int:
        """Select a job in ``cycle``, one that ``free`` gave,; gives the cycle of its first word.

        ``first``, ``last``: its first and last accumulator word, by default ``length`` words on.
        """
        over = self.fetched[-1] + self.length
        start = max(cycle + ADDRESSER, over) + gap
        if self.clashes and start == over and first == self.last:
            start += 1
        self.last = first + max(1, length) - 1 if last is None else last
        self.selected, self.length, self.fetched = cycle, length, [*self.fetched[1:], start]
        return start


class _Convolver:
    """The convolver before the addresser, which makes a job's runs; a job that is no convolution's event is one run.

    Jobs go through CONVOLVER stages, which stand still while the runs of the job before are taken.
    """

    def __init__(self, clashes: bool):
        self._runs, self.selected = _Lanes(clashes), -2
        self._still: list[tuple[int, int]] = []     # from when until when the stages stood still, lately
        self._done = -1                             # the last run of the job before was taken
        self._again = -1                            # an event's second convolution is in the first stage, a cycle on

    def free(self, cycle: int) -> int:
        """As of ``_Lanes``."""
        return self._moving(max(cycle, self.selected + 2, self._again + 1))

    def _moving(self, cycle: int) -> int:
        """First cycle from this one on in which the stages do not stand still."""
        for begin, end in self._still:
            if begin <= cycle < end:
                cycle = end
        return cycle

    def serve(self, cycle: int, length: int, first: int, last: int | None = None, gap: int = 0) -> int:
        """As of ``_Lanes``."""
        return self._serve(cycle, [(length, first, last, gap)])

    def serve_runs(self, cycle: int, images: Sequence[Sequence[WordRun]]) -> int:
        """Select an event in ``cycle`` with its runs of each convolution that hears it; gives the cycle of its first
        word."""
        first, *more = ([(run.length, run.target, None, 0) for run in runs] for runs in images)
        start = self._serve(cycle, first)
        for runs in more:
            self._again = self._moving(cycle + 1)
            self._serve(self._again, runs)
        self.selected = cycle
        return start

    def _serve(self, cycle: int, runs: Sequence[tuple[int, int, int | None, int]]) -> int:
        at_end = cycle + CONVOLVER + sum(end - begin for begin, end in self._still if begin >= cycle)
        moves = max(at_end, self._done + 1)
        if moves > at_end:
            self._still = [*(still for still in self._still if still[1] > cycle), (at_end, moves)]
        self.selected, taken, starts = cycle, moves, []
        for run in runs:
            taken = self._runs.free(taken + 1)
            starts.append(self._runs.serve(taken, *run))
        self._done = taken
        return starts[0]


class _Features:
    """When the events of the feature frames reach the scheduler, which holds one back until it knows the next."""

    def __init__(self, design: Design):
        self._rest = _rest(design)
        self._output, self._left = _Output(1, FEATURE_ROOM), []     # events of each frame that are not taken yet
        self._free, self._held = 0, NEVER           # one can be held from this cycle on; one is, since then

    @property
    def begun(self) -> list[int]:
        """The cycle in which each frame's first group was taken."""
        return self._output.begun

    def come(self, counts: Sequence[int], cycle: int = 0) -> None:
        """The encoder takes the next frame as soon as it can, in ``cycle`` or later; ``counts``: events of each group.
        """
        self._output.add(cycle, counts, rest=self._rest)
        self._left.append(sum(counts))
        self._hold()

    def _hold(self) -> None:
        if self._held == NEVER and self._output.there() < NEVER:
            taken = max(self._output.there(), self._free)
            self._output.take(taken)
            self._held = taken + 1

    def empty(self) -> bool:
        """Whether the frame that is next to be closed has no more events."""
        return self._left[0] == 0

    def more(self) -> int:
        """When it is known that the held event is not its frame's last; NEVER if it is, or there is none."""
        return max(self._held, self._output.there()) if self._left and self._left[0] > 1 else NEVER

    def last(self) -> int:
        """When it is known that it is the last, or that the frame has none."""
        return self._held if self.empty() else max(self._held, self._output.there())

    def take(self, cycle: int) -> None:
        """The held event is selected."""
        self._left[0] -= 1
        self._held, self._free = NEVER, cycle + 1
        self._hold()

    def close(self, cycle: int) -> None:
        """So is the last, or the end of a frame without events."""
        end = cycle
        if self._left.pop(0):
            end = cycle + 1                         # what is there after the last event is not held
            self._output.take(end)
        self._held, self._free = NEVER, end + 1
        self._hold()


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
    lanes = _Convolver(design.choices) if any(images) else _Lanes(design.choices)
    features, result = _Features(design), []
    for count in counts[0][: 1 if apart else None]:
        features.come(count)
    state, done = 0, -1             # first cycle of the scheduler's present state; last logit of the frame before
    fuses = _fuses(layout)

    def add(cycle: int, s: int) -> None:
        """The lanes add the next event of a signal."""
        if isinstance(lanes, _Convolver) and images[s]:
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
                output = _Output(HANDED + layer.cell.delay, ROOM)
                group = start + _before_last_gate(layout, l)[0] + LANES + _snapshot(layer.cell)
                output.add(group - HANDED, counts[l + 1][t])
            else:
                output = _Output()
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
