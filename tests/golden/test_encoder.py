"""The sequence encoder against the definition, written out for one element at a time."""

import numpy as np
import pytest
import torch

from tidegate.golden.encoder import count_events, encode
from tidegate.spec.rules import delta


def naive(signal, threshold):
    """(anchors, events) of a list of ints, from the equations in ``spec/rules.py``."""
    anchor, anchors, events = 0, [], []
    for v in signal:
        fire = abs(v - anchor) >= threshold and v != anchor
        anchor += max(-2047, min(2047, v - anchor)) if fire else 0
        anchors.append(anchor)
        events.append(int(fire))
    return anchors, events


@pytest.mark.parametrize("threshold", [0, 1, 2, 7, 100, 2047, 2048, 3000, 4094])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sequence_and_step_equal_the_definition(threshold, dtype, frames_factory):
    frames = frames_factory(threshold, 60, 3, 5)
    anchors = encode(torch.tensor(frames, dtype=dtype), threshold)
    events = count_events(anchors)
    expected = [[naive(frames[:, b, i].tolist(), threshold) for i in range(5)] for b in range(3)]
    expected_anchors = np.array([[a for a, _ in row] for row in expected]).transpose(2, 0, 1)
    expected_fired = np.array([[e for _, e in row] for row in expected]).transpose(2, 0, 1)
    assert np.array_equal(anchors.numpy(), expected_anchors)
    assert np.array_equal(events.numpy(), expected_fired.sum(-1))
    anchor = np.zeros((3, 5), np.int64)
    for t, v in enumerate(frames):
        fired, _, anchor = delta(v, anchor, threshold)
        assert np.array_equal(fired, expected_fired[t])
        assert np.array_equal(anchor, expected_anchors[t])


def test_a_jump_across_the_whole_range_is_sent_in_two_events():
    frames = torch.tensor([2047, -2047, -2047, -2047]).float().view(4, 1, 1)
    anchors = encode(frames, 0)
    assert anchors.flatten().tolist() == [2047, 0, -2047, -2047]
    assert count_events(anchors).flatten().tolist() == [1, 1, 1, 0]


def test_a_slow_ramp_does_not_drift():
    ramp = torch.arange(400).float().view(-1, 1, 1)
    anchors = encode(ramp, 25)
    assert (ramp - anchors).abs().max() < 25
    assert count_events(anchors).sum() == 399 // 25


def test_dense_mode_sends_every_element_and_moves_the_anchor_as_theta_zero(frames_factory):
    frames = frames_factory(5, 30, 2, 4)
    anchors = encode(torch.tensor(frames).float(), 0)
    assert (count_events(anchors, dense=True) == 4).all()
    anchor = np.zeros((2, 4), np.int64)
    for t, v in enumerate(frames):
        fired, _, anchor = delta(v, anchor, 900, dense=True)
        assert fired.all() and np.array_equal(anchor, anchors[t].numpy())


def test_empty_sequence():
    assert encode(torch.zeros(0, 2, 3), 5).shape == (0, 2, 3)
    assert count_events(torch.zeros(0, 2, 3)).shape == (0, 2)
