"""When the parts of a core take and give what they work on: the parts of the cycle model (``cycles.py``)."""

from collections.abc import Sequence

from .design import Design
from .layout import WordRun

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
NEVER = 1 << 62


def encoder_rest(design: Design) -> int:
    return REST + LEAKS * (design.diffuses and design.snapshot)


class EncoderTimes:
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
    output, times = EncoderTimes(), []
    output.add(there, counts)
    for _ in range(sum(counts) + 1):
        times.append(output.there())
        output.take(times[-1])
    return times


class LaneTimes:
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


class ConvolverTimes:
    """The convolver before the addresser, which makes a job's runs; a job that is no convolution's event is one run.

    Jobs go through CONVOLVER stages, which stand still while the runs of the job before are taken.
    """

    def __init__(self, clashes: bool):
        self._runs, self.selected = LaneTimes(clashes), -2
        self._still: list[tuple[int, int]] = []     # from when until when the stages stood still, lately
        self._done = -1                             # the last run of the job before was taken
        self._again = -1                            # an event's second convolution is in the first stage, a cycle on

    def free(self, cycle: int) -> int:
        """As of ``LaneTimes``."""
        return self._moving(max(cycle, self.selected + 2, self._again + 1))

    def _moving(self, cycle: int) -> int:
        """First cycle from this one on in which the stages do not stand still."""
        for begin, end in self._still:
            if begin <= cycle < end:
                cycle = end
        return cycle

    def serve(self, cycle: int, length: int, first: int, last: int | None = None, gap: int = 0) -> int:
        """As of ``LaneTimes``."""
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


class FeatureTimes:
    """When the events of the feature frames reach the scheduler, which holds one back until it knows the next."""

    def __init__(self, design: Design):
        self._rest = encoder_rest(design)
        self._output, self._left = EncoderTimes(1, FEATURE_ROOM), []     # events of each frame that are not taken yet
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
