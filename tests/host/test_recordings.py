"""Decisions on recordings, and their costs, from the results of a board."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tidegate import FrameResult, TidegateError, load_model
from tidegate.clips import clips, expected_label
from tidegate.host.features import features_of, settings_of
from tidegate.host.recordings import check_word_length, compare_with_dense, decide, dense_costs, total_costs
from tidegate.spec.errors import TidegateWarning

MODEL = replace(load_model("digits"), stop=None)


def board(uneven: bool = False) -> Any:
    """Answers every frame with the label of its number; dense frames cost ten times as much."""
    def stream(frames):
        factor = 10 if made.dense else 1
        for t in range(len(frames)):
            label = t % len(MODEL.labels)
            made.sent += 1
            yield FrameResult(t, MODEL.labels[label], label, (), 0.5, factor + uneven * made.sent, (1, 2), factor)

    made = SimpleNamespace(dense=False, stop="own", sent=0, stream=stream)
    return made


def test_the_frame_after_the_word_decides():
    clip = next(c for c in clips() if c.word == "left")
    frames = features_of(MODEL, clip.path)
    decision = decide(board(), frames, MODEL)
    assert decision.decided_at is None and 0 < decision.frame < len(frames) == decision.frames
    assert decision.label == MODEL.labels[decision.frame % len(MODEL.labels)]
    row = decision.to_dict(settings_of(MODEL))
    assert row["frames_used"] == 1 and row["decided_at_s"] is None and row["seconds"] == pytest.approx(1, abs=0.1)


def test_delta_and_dense_costs_add_up():
    device = board()
    words = [(clip, features_of(MODEL, clip.path)) for clip in clips()[:3]]
    done = list(compare_with_dense(device, MODEL, words))
    delta, dense = total_costs(done, MODEL.network)
    assert delta.frames == dense.frames == sum(len(frames) for _, frames in words)
    assert dense.cycles == 10 * delta.cycles and device.stop is None and device.dense is False
    assert done[0].to_dict(MODEL)["speedup"] == 10
    assert [each.right for each in done] == [each.decision.label == expected_label(each.clip.word, MODEL.labels)
                                             for each in done]


def test_dense_clips_of_one_length_cost_the_same():
    with pytest.raises(TidegateError, match="clips differ in cost"):
        dense_costs(board(uneven=True), [np.zeros((5, 3))] * 2)


def test_a_recording_that_is_longer_than_a_word(tmp_path):
    settings = settings_of(MODEL)

    def steady(seconds: float) -> np.ndarray:
        return np.zeros((round(seconds * settings.sample_rate / settings.hop), settings.bands), np.float32)

    check_word_length(tmp_path, steady(2), settings)
    with pytest.warns(TidegateWarning, match="longer than a word"):
        check_word_length(tmp_path, steady(4), settings)
    with pytest.raises(TidegateError, match="`tidegate listen` hears words"):
        check_word_length(tmp_path, steady(12), settings)
