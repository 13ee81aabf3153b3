"""Figures by hand, and against a count over fired elements."""

import numpy as np

from tidegate.golden import Golden, figures


def test_figures_count_clips_only_up_to_their_length(model_factory, frames_factory):
    model = model_factory(1, 6, [9, 4], 3, [10, 5, 5])
    net, golden = model.network, Golden(model)
    frames, lengths = frames_factory(1, 30, 4, 6), [30, 12, 1, 0]
    result = figures(net, golden.run(frames).events, lengths)
    fired = np.zeros(3, np.int64)
    state = golden.initial_state(4)
    for t, frame in enumerate(frames):
        step, state = golden.step(frame, state)
        for s in range(3):
            fired[s] += sum(int(step.fired[s][b].sum()) for b in range(4) if t < lengths[b])
    assert result.frames == 43
    assert result.events == tuple(fired)
    columns = (27, 27 + 12, 12 + 3)
    assert result.weights == sum(int(n) * c for n, c in zip(fired, columns, strict=True))
    assert result.dense_weights == 43 * (6 * 27 + 9 * 39 + 4 * 15)
    assert result.occupancy == tuple(float(n) / (43 * e) for n, e in zip(fired, (6, 9, 4), strict=True))
    assert result.temporal_sparsity == 1 - result.weights / result.dense_weights
    assert result.fetch_reduction == result.dense_weights / result.weights > 1


def test_silence_and_no_frames(model_factory):
    net = model_factory(1, 2, [3], 2, [0, 0]).network
    silent = figures(net, np.zeros((5, 1, 2)))
    assert silent.fetch_reduction is None and silent.temporal_sparsity == 1
    nothing = figures(net, np.zeros((5, 1, 2)), [0])
    assert nothing.dense_weights == 0 and nothing.occupancy == (0, 0) and nothing.temporal_sparsity == 0
