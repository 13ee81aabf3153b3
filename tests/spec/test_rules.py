"""The encoder rules, worked out by hand, and descriptions of rules that cannot be."""

import numpy as np
import pytest

from tidegate.spec.errors import ModelError
from tidegate.spec.rules import DELTA_MAX, STEP_MAX, Diffuse, delta, rule_of


def played(rule, values, theta, memory=0, dense=False):
    """(what is sent, or None, and the memory) after each value."""
    steps = []
    for v in values:
        fired, sent, memory = rule(v, memory, theta, dense)
        steps.append((int(sent) if fired else None, int(memory)))
    return steps


def test_delta_sends_what_is_far_enough_from_what_was_sent():
    assert played(delta, [9, 10, 15, 0], 10) == [(None, 0), (10, 10), (None, 10), (-10, 0)]
    assert played(delta, [0, 1, 1], 0) == [(None, 0), (1, 1), (None, 1)]
    assert played(delta, [-2047, 2047, 2047], 5) == [(-2047, -2047), (2047, 0), (2047, 2047)]
    assert played(delta, [3, 3], 10, dense=True) == [(3, 3), (0, 3)]
    assert rule_of(None) is delta and rule_of(Diffuse(1)) == Diffuse(1)


@pytest.mark.parametrize(("rule", "theta", "values", "expected"), [
    # integrate and fire: 100 a frame, a spike takes 256
    (Diffuse(256), 256, [100] * 6, [(None, 100), (None, 200), (256, 44), (None, 144), (None, 244), (256, 88)]),
    # a threshold above the step: the potential waits for it
    (Diffuse(256), 300, [256, 43, 1, 0], [(None, 256), (None, 299), (256, 44), (None, 44)]),
    # a leak of a half, rounded so that what is left of -3 is -1
    (Diffuse(256, leak=1), 256, [200, 200, 200, 200], [(None, 200), (256, 44), (None, 222), (256, 55)]),
    (Diffuse(256, leak=1), 256, [-3, 0, 0], [(None, -3), (None, -1), (None, 0)]),
    (Diffuse(256, leak=7), 256, [127, 0, 1, 0], [(None, 127), (None, 127), (None, 128), (None, 127)]),
    # reset to zero; what is below the threshold stays
    (Diffuse(256, zero=True), 256, [300, 255, 1], [(256, 0), (None, 255), (256, 0)]),
    # rounds half up to levels of both signs, and keeps the error
    (Diffuse(64, -3, 3), 32, [100, 100, 100], [(128, -28), (64, 8), (128, -20)]),
    (Diffuse(64, -3, 3), 32, [-96, 0, 1000, -1000], [(-64, -32), (None, -32), (192, 776), (-192, -32)]),
    # only negative levels: what is above them is not sent
    (Diffuse(16, -2, 0), 8, [100, -124, -12, -100], [(None, 100), (-16, -8), (-16, -4), (-32, -72)]),
    # the error saturates, at both ends
    (Diffuse(1), 1, [2047, 2047, 2047], [(1, 2046), (1, 2047), (1, 2047)]),
    (Diffuse(1), 1, [-2047, -2047, 2047], [(None, -2047), (None, -2047), (None, 0)]),
    # Θ = 0 sends with less than a step there
    (Diffuse(64), 0, [0, 0, 64, 1], [(64, -64), (None, -64), (64, -64), (None, -63)]),
], ids=str)
def test_diffuse_by_hand(rule, theta, values, expected):
    assert played(rule, values, theta) == expected


def test_dense_sends_every_element_and_changes_no_memory():
    rule = Diffuse(64, -1, 1)
    values = [10, 70, -200, 31, 0]
    sparse, dense = played(rule, values, 64), played(rule, values, 64, dense=True)
    assert [memory for _, memory in dense] == [memory for _, memory in sparse]
    assert [sent for sent, _ in dense] == [sent or 0 for sent, _ in sparse] and None in [s for s, _ in sparse]


def test_nothing_is_lost_where_nothing_leaks_or_saturates():
    values = np.random.default_rng(3).integers(-60, 61, (200, 5))
    rule, memory, total = Diffuse(32, -2, 2), np.zeros(5, np.int64), np.zeros(5, np.int64)
    for v in values:
        _, sent, memory = rule(v, memory, 16)
        total += sent
        assert np.abs(memory).max() <= 16
    assert (total + memory == values.sum(0)).all()


def test_arrays_are_as_numbers():
    rng = np.random.default_rng(4)
    for rule in (None, Diffuse(64), Diffuse(32, -3, 3, leak=2), Diffuse(512, -2, 0, zero=True)):
        v, memory = rng.integers(-2047, 2048, (2, 300))
        fired, sent, after = rule_of(rule)(v, memory, 40)
        each = [rule_of(rule)(int(a), int(b), 40) for a, b in zip(v, memory, strict=True)]
        assert [tuple(map(int, step)) for step in each] == list(zip(
            fired.astype(int).tolist(), sent.tolist(), after.tolist(), strict=True))


@pytest.mark.parametrize(("arguments", "text"), [
    (dict(step=0), "a power of two, 1 to 1024, not 0"), (dict(step=48), "power of two"),
    (dict(step=2 * STEP_MAX), "1 to 1024, not 2048"), (dict(step=-4), "power of two"),
    (dict(step=4.0), "step of a rule 'diffuse' is a whole number"), (dict(step=True), "whole number"),
    (dict(step="4"), "whole number, not '4'"), (dict(step=4, highest=1.5), "highest of a rule"),
    (dict(step=4, lowest=0, highest=0), "not 0 to 0"), (dict(step=4, lowest=1, highest=2), "not 1 to 2"),
    (dict(step=4, lowest=-2, highest=-1), "not -2 to -1"), (dict(step=4, highest=512), "would send ±2048"),
    (dict(step=1024, lowest=-2), "would send ±2048, an event holds ±2047"),
    (dict(step=4, leak=8), "0 to 7, not 8"), (dict(step=4, leak=-1), "0 to 7"), (dict(step=4, leak=None), "leak"),
    (dict(step=4, zero=1), "true or false, not 1"),
], ids=str)
def test_rules_that_no_encoder_has(arguments, text):
    with pytest.raises(ModelError, match=text) as error:
        Diffuse(**arguments)
    assert "\n" not in str(error.value)


def test_dictionary_round_trip():
    for rule in (Diffuse(64), Diffuse(1, -2047, 2047, 7, True)):
        assert Diffuse.from_dict(rule.to_dict()) == rule
        assert rule.reach <= DELTA_MAX and 1 << rule.log2_step == rule.step
    assert Diffuse.from_dict({"rule": "diffuse", "step": 8}) == Diffuse(8, 0, 1, 0, False)


@pytest.mark.parametrize("description", [
    {}, {"step": 8}, {"rule": "diffuse"}, {"rule": "delta", "step": 8}, {"rule": "diffuse", "step": 8, "theta": 1},
    "diffuse", ["diffuse", 8], 3, {"rule": "diffuse", "step": None}, {"rule": "diffuse", "step": 8, "zero": 0},
    {"rule": "diffuse", "step": [8] * 1000},
], ids=lambda x: str(x)[:40])
def test_descriptions_of_no_rule(description):
    with pytest.raises(ModelError) as error:
        Diffuse.from_dict(description)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
