"""The stop rule: against a plain loop, its words in JSON, and what it refuses."""

import numpy as np
import pytest

from tidegate.spec.errors import ModelError
from tidegate.spec.stop import (
    HOLD_MAX,
    MARGIN_MAX,
    SMOOTH_MAX,
    STOP_SHIFT,
    UNDECIDED,
    Decider,
    Stop,
    clearest,
    decisions,
    first_decisions,
    leads,
)


def by_hand(logits: np.ndarray, stop: Stop) -> list[int]:
    """One sequence (T, classes), as the rule reads."""
    sums, risen, found = [0] * logits.shape[1], None, []
    left = 0 if stop.stream else stop.hold
    release = stop.margin if stop.release is None else stop.release
    for frame in logits.tolist():
        sums = [s + (x >> STOP_SHIFT) - (s >> stop.smooth) for s, x in zip(sums, frame, strict=True)]
        y = [s >> stop.smooth for s in sums] if stop.smooth else [x >> STOP_SHIFT for x in frame]
        best = max(range(len(y)), key=lambda k: (y[k], -k))
        lead = y[best] - max(v for k, v in enumerate(y) if k != best)
        clear = lead > stop.margin and (stop.classes is None or best < stop.classes)
        ready = best != risen if stop.stream else risen is None
        if decided := clear and ready and left == 0:
            found.append(best)
        else:
            found.append(UNDECIDED)
        left = stop.hold if decided else max(left - 1, 0)
        if clear and (stop.stream or decided):
            risen = best
        elif stop.stream and (lead <= release or best != risen):
            risen = None
    return found


RULES = [Stop(0), Stop(300), Stop(300, hold=3), Stop(200, classes=2), Stop(100, stream=True), Stop(300, 5, 3, True),
         Stop(300, 5, 3, True, 2, 100), Stop(100, 2, None, True, 3, 0), Stop(50, 0, 2, True, 1, 50),
         Stop(200, 4, 3, smooth=3)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stop", RULES, ids=str)
def test_decisions_equal_a_plain_loop(seed, stop):
    rng = np.random.default_rng(seed)
    walk = rng.normal(0, 30_000, (90, 5, 4)).cumsum(0)
    walk += rng.normal(0, 60_000, (90, 5, 4)) * (rng.random((90, 5, 1)) < 0.3)
    walk *= np.repeat(rng.random((9, 5, 1)) < 0.7, 10, 0)        # stretches in which nothing leads
    logits = np.clip(walk, -(1 << 23), (1 << 23) - 1).astype(np.int64)
    found = decisions(logits, stop)
    assert found.T.tolist() == [by_hand(logits[:, b], stop) for b in range(5)]
    assert (found != UNDECIDED).any()
    assert stop.stream or ((found != UNDECIDED).sum(0) <= 1).all()


@pytest.mark.parametrize("stop", RULES, ids=str)
def test_decisions_do_not_depend_on_the_blocks(stop):
    rng = np.random.default_rng(7)
    stretches = np.repeat(rng.random((20, 2, 1)) < 0.6, 10, 0)
    walk = rng.normal(0, 40_000, (200, 2, 4)).cumsum(0) * stretches
    logits = np.clip(walk.astype(np.int64), -(1 << 23), (1 << 23) - 1)
    cut = Decider(stop, (2,))
    for _ in range(2):
        at = np.sort(rng.integers(0, 200, 30))
        found = np.concatenate([cut.accept(block) for block in np.split(logits, at)])
        assert found.tolist() == decisions(logits, stop).tolist()
        cut.reset()


def test_smoothed_logits_stay_within_those_that_come_in():
    least, most = -(1 << 23), (1 << 23) - 1
    for shift in range(SMOOTH_MAX + 1):
        for level in (least, most):
            y = Decider(Stop(0, stream=True, smooth=shift), ()).smooth(np.full((200, 2), level >> STOP_SHIFT))
            assert y.min() >= least >> STOP_SHIFT and y.max() <= most >> STOP_SHIFT
            assert abs(int(y[-1, 0]) - (level >> STOP_SHIFT)) <= 1        # and get there


def test_in_a_stream_a_word_is_reported_once_and_a_rise_in_the_hold_is_dropped():
    def lines(*leads):      # (class, lead) per frame
        rows = np.zeros((len(leads), 1, 3), np.int64)
        for row, (which, lead) in zip(rows, leads, strict=True):
            row[0, which] = lead << STOP_SHIFT
        return rows

    rule = Stop(100, 0, 2, True, release=50)
    up, dip, gone, other = (0, 101), (0, 51), (0, 50), (2, 500)
    assert decisions(lines(up, dip, up, gone, up, other, up), rule)[:, 0].tolist() == [0, -1, -1, -1, 0, -1, 0]
    assert decisions(lines(up, (1, 101), up), rule)[:, 0].tolist() == [0, 1, 0]
    held = Stop(100, 3, 2, True, release=50)
    assert decisions(lines(up, gone, *[(1, 101)] * 9), held)[:, 0].tolist() == [0] + [-1] * 10
    assert decisions(lines(up, gone, gone, gone, (1, 101)), held)[:, 0].tolist() == [0, -1, -1, -1, 1]


def test_the_first_frame_and_the_first_class_can_be_decided():
    logits = np.array([[[900 << STOP_SHIFT, 0, 0]], [[0, 0, 0]]])
    assert decisions(logits, Stop(899)).tolist() == [[0], [UNDECIDED]]
    assert decisions(logits, Stop(900)).tolist() == [[UNDECIDED], [UNDECIDED]]
    assert decisions(logits, Stop(5, hold=1)).tolist() == [[UNDECIDED], [UNDECIDED]]


def test_a_tie_is_no_lead():
    lead, best = leads(np.array([[7 << STOP_SHIFT, 7 << STOP_SHIFT, 3], [255, 0, 256]]))
    assert (lead.tolist(), best.tolist()) == ([0, 1], [0, 2])
    assert decisions(np.full((3, 1, 2), 5), Stop(0)).tolist() == [[UNDECIDED]] * 3


def test_a_clip_without_a_decision_is_judged_at_its_end():
    logits = np.zeros((4, 3, 2), np.int64)
    logits[1, 0, 1] = logits[3, 1, 1] = logits[2, 2, 0] = 100 << STOP_SHIFT        # the last one's is padding
    frame, which, decided = first_decisions(logits, np.array([4, 4, 2]), Stop(50))
    assert (frame.tolist(), which.tolist(), decided.tolist()) == ([1, 3, 1], [1, 1, 0], [True, True, False])


def test_a_smoothed_rule_names_the_class_that_it_decides():
    """Not that of the frame's own largest logit."""
    rng, rule = np.random.default_rng(3), Stop(200, smooth=3)
    logits = rng.normal(0, 1000 << STOP_SHIFT, (40, 200, 4)).astype(np.int64)
    frame, which, decided = first_decisions(logits, np.full(200, 40), rule)
    made = decisions(logits, rule)
    assert decided.sum() > 50 and (which[decided] == made[frame[decided], np.flatnonzero(decided)]).all()
    assert (which[decided] != logits[frame[decided], np.flatnonzero(decided)].argmax(-1)).any()


def test_margins_are_on_the_grid_of_the_classifiers_weights():
    stop = Stop.of(2.0, 7, ("yes", "no", "silence"), hold=4)
    assert stop == Stop(256, 4, classes=2)
    assert Stop.of(1.5, 4, ("yes", "no")) == Stop(24)
    for rule in (stop, Stop(3), Stop(3, 1, 2, True), Stop(9, 1, 2, True, 3, 4)):
        assert Stop.from_dict(rule.to_dict()) == rule
    assert Stop(3).to_dict() == {"margin": 3}


def test_what_no_board_can_compare_is_refused():
    for margin in (-1, MARGIN_MAX + 1):
        with pytest.raises(ModelError, match=f"stop margin must be in 0..{MARGIN_MAX}"):
            Stop(margin)
    for margin in (-0.1, 600, float("nan")):
        with pytest.raises(ModelError, match=r"lead from 0 to 511\.992 in units of the logits"):
            Stop.of(margin, 7, ("yes", "no"))
    with pytest.raises(ModelError, match=f"hold off 0 to {HOLD_MAX} frames"):
        Stop(1, hold=HOLD_MAX + 1)
    for rule in ({}, {"margin": 0.5}, {"margin": True}, {"margin": 3, "hold": "2"}, {"margin": 3, "classes": "x"}):
        with pytest.raises(ModelError, match=r"of a stop rule is a whole number, not"):
            Stop.from_dict(rule)
    with pytest.raises(ModelError, match="decides for the first 0 or more classes, not for -1"):
        Stop(3, classes=-1)
    with pytest.raises(ModelError, match=f"smooths by 0 to {SMOOTH_MAX}, not by 4"):
        Stop(3, smooth=4)
    with pytest.raises(ModelError, match=r"release must be in 0\.\.3"):
        Stop(3, stream=True, release=4)
    with pytest.raises(ModelError, match="only a stop rule for streams has a release"):
        Stop(3, release=1)


def test_the_clearest_answer_of_a_recording():
    """Against the definition; "unknown" and "silence" answer where no keyword ever leads, and in the last frame."""
    rng = np.random.default_rng(3)
    for trial in range(40):
        logits = np.cumsum(rng.normal(0, 2.0**13, (50, 4)), 0).astype(np.int64)
        if trial % 2:
            logits[:, 2] += 1 << 18
        rule = Stop(300, 10, 2, True, trial % 4)
        sums, best = np.zeros(4, np.int64), (0, None)
        for t, v in enumerate(logits >> STOP_SHIFT):
            sums = sums + v - (sums >> rule.smooth) if rule.smooth else v
            y = sums >> rule.smooth
            first, second = sorted(y)[-1], sorted(y)[-2]
            if y.argmax() < 2 and first - second > best[0]:
                best = (first - second, (t, int(y.argmax())))
        assert clearest(logits, rule) == (best[1] or (49, 2 + int(y[2:].argmax())))
    assert clearest(np.zeros((3, 2), np.int64), Stop(0)) == (0, 0)
