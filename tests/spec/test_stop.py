"""The stop rule: against a plain loop, its words in JSON, and what it refuses."""

import numpy as np
import pytest

from tidegate.spec.errors import ModelError
from tidegate.spec.stop import HOLD_MAX, MARGIN_MAX, STOP_SHIFT, UNDECIDED, Stop, decisions, first_decisions, leads


def by_hand(logits: np.ndarray, stop: Stop) -> list[int]:
    """One sequence (T, classes), as the rule reads."""
    armed, quiet, found = True, stop.hold, []
    for frame in logits.tolist():
        best = max(range(len(frame)), key=lambda k: (frame[k], -k))
        others = [x >> STOP_SHIFT for k, x in enumerate(frame) if k != best]
        clear = (frame[best] >> STOP_SHIFT) - max(others) > stop.margin
        clear = clear and (stop.classes is None or best < stop.classes)
        if clear and armed and not quiet:
            found.append(best)
            armed, quiet = False, stop.hold
            continue
        found.append(UNDECIDED)
        quiet = max(quiet - 1, 0)
        armed = armed or (stop.stream and not clear)
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stop", [Stop(0), Stop(300), Stop(300, hold=3), Stop(200, classes=2), Stop(100, stream=True),
                                  Stop(300, 5, 3, True)], ids=str)
def test_decisions_equal_a_plain_loop(seed, stop):
    rng = np.random.default_rng(seed)
    walk = rng.normal(0, 30_000, (60, 5, 4)).cumsum(0)
    logits = np.clip(walk, -(1 << 23), (1 << 23) - 1).astype(np.int64)
    found = decisions(logits, stop)
    assert found.T.tolist() == [by_hand(logits[:, b], stop) for b in range(5)]
    assert (found != UNDECIDED).any()
    assert stop.stream or ((found != UNDECIDED).sum(0) <= 1).all()


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


def test_margins_are_on_the_grid_of_the_classifiers_weights():
    stop = Stop.of(2.0, 7, ("yes", "no", "silence"), hold=4)
    assert stop == Stop(256, 4, classes=2)
    assert Stop.of(1.5, 4, ("yes", "no")) == Stop(24)
    for rule in (stop, Stop(3), Stop(3, 1, 2, True)):
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
