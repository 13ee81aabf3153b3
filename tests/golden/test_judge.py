"""Two routes to the same integers: whole sequences as in training, and events into persistent accumulators."""

import numpy as np
import pytest
import torch

from tidegate.golden import DeltaNetwork, Golden

SHAPES = {
    "two-extreme": dict(features=20, sizes=[50, 37], classes=5, weights="extreme"),
    "two": dict(features=20, sizes=[50, 37], classes=5, fracs=[7, 6, 8]),
    "one-tiny": dict(features=1, sizes=[1], classes=1, fracs=[2, 9]),
    "four": dict(features=7, sizes=[9, 16, 3, 11], classes=4, fracs=[5, 7, 9, 2, 7]),
}
THRESHOLDS = {"zero": [0] * 5, "medium": [6] * 5, "large": [300, 90, 90, 90, 90], "mixed": [0, 12, 1, 40, 3]}


def build(model_factory, shape, theta, seed=3):
    spec = SHAPES[shape]
    return model_factory(seed, thresholds=THRESHOLDS[theta][: len(spec["sizes"]) + 1], **spec)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("theta", THRESHOLDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_run_equals_step_and_m_equals_b_plus_w_v(shape, theta, dense, model_factory, frames_factory):
    model = build(model_factory, shape, theta)
    net, tensors = model.network, {k: v.astype(np.int64) for k, v in model.tensors.items()}
    frames = frames_factory(11, 45, 3, net.features)
    golden = Golden(model)
    trace = golden.run(frames, dense=dense, keep_layers=True, keep_anchors=True)
    state = golden.initial_state(3)
    for t, frame in enumerate(frames):
        before = [a.copy() for a in state.anchors]
        step, after = golden.step(frame, state, dense=dense)
        assert all(np.array_equal(a, b) for a, b in zip(before, state.anchors, strict=True))
        state = after
        assert np.array_equal(step.logits, trace.logits[t])
        assert np.array_equal(step.events, trace.events[t])
        assert np.array_equal(step.weights, trace.weights[t])
        for l, stages in enumerate(step.layers):
            for name in stages._fields:
                assert np.array_equal(getattr(stages, name), getattr(trace.layers[l], name)[t]), (t, l, name)
        for s, anchor in enumerate(state.anchors):
            assert np.array_equal(anchor, trace.anchors[s][t])
            assert np.array_equal(anchor, before[s] + step.deltas[s])
            assert np.abs(anchor).max() <= net.max_anchor(s)
        for l, layer in enumerate(net.layers):
            # Layer l's input was sent in this frame, its own ĥ fed back only after its cell ran; all are in M now.
            x = (state.anchors[l] @ tensors[f"gru.{l}.weight_ih"].T).reshape(3, 3, layer.size)
            h = (state.anchors[l + 1] @ tensors[f"gru.{l}.weight_hh"].T).reshape(3, 3, layer.size)
            zero = np.zeros_like(x[:, :1])
            inner = np.concatenate([x[:, 2:], x[:, :2], zero], 1) + np.concatenate([zero, h], 1)
            assert np.array_equal(state.accumulators[l], inner + tensors[f"gru.{l}.bias"])
        logits = state.anchors[-1] @ tensors["classifier.weight"].T + tensors["classifier.bias"]
        assert np.array_equal(step.logits, logits)
    assert trace.events.sum() > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_dense_mode_is_theta_zero_with_every_element_counted(shape, model_factory, frames_factory):
    model = build(model_factory, shape, "large")
    net = model.network
    frames = frames_factory(2, 30, 4, net.features)
    dense = Golden(model).run(frames, dense=True)
    zero = Golden(model.with_thresholds(*[0] * net.signals)).run(frames)
    assert np.array_equal(dense.logits, zero.logits)
    assert (dense.events == [net.elements(s) for s in range(net.signals)]).all()
    assert (dense.weights == net.dense_weights).all()
    assert (zero.weights <= net.dense_weights).all()


@pytest.mark.parametrize("theta", ["zero", "mixed"])
def test_batch_invariance_padding_and_dtype(theta, model_factory, frames_factory):
    model = build(model_factory, "two", theta)
    golden, frames = Golden(model), frames_factory(4, 40, 5, 20)
    whole = golden.run(frames, keep_layers=True)
    for b in range(5):
        alone = golden.run(frames[: 20 + 4 * b, b : b + 1])
        assert np.array_equal(alone.logits[:, 0], whole.logits[: 20 + 4 * b, b])
        assert np.array_equal(alone.events[:, 0], whole.events[: 20 + 4 * b, b])
    for other in (golden.run(torch.tensor(frames), dtype=torch.float64, keep_layers=True),
                  golden.run(frames.astype(np.int16), keep_layers=True)):
        assert np.array_equal(other.logits, whole.logits)
        for a, b in zip(other.layers, whole.layers, strict=True):
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_theta_zero_and_one_are_the_same(model_factory, frames_factory):
    model, frames = build(model_factory, "two", "zero"), frames_factory(8, 40, 2, 20)
    zero, one = Golden(model).run(frames), Golden(model.with_thresholds(1, 1, 1)).run(frames)
    assert np.array_equal(zero.logits, one.logits) and np.array_equal(zero.events, one.events)


def test_training_forward_is_the_judge(model_factory, frames_factory):
    model = build(model_factory, "four", "mixed")
    frames = frames_factory(9, 50, 3, 7)
    for dense in (False, True):
        out = DeltaNetwork.from_model(model)(torch.tensor(frames).float(), dense=dense)
        golden = Golden(model)
        trace = golden.run(frames, dense=dense, keep_anchors=True)
        assert np.array_equal(out.logits.detach().numpy() * 2.0**golden.logit_frac, trace.logits)
        assert np.array_equal(torch.stack(out.events, -1).detach().numpy(), trace.events)
        assert all(np.array_equal(a.detach().numpy(), b) for a, b in zip(out.anchors, trace.anchors, strict=True))


def test_frames_of_the_wrong_shape_are_refused(model_factory):
    from tidegate.spec.errors import TidegateError

    golden = Golden(build(model_factory, "two", "zero"))
    with pytest.raises(TidegateError, match="20 features"):
        golden.run(np.zeros((5, 2, 19), np.int16))
    with pytest.raises(TidegateError, match="SIGNAL"):
        golden.run(np.full((5, 2, 20), 2048))
    with pytest.raises(TidegateError, match="integers"):
        golden.run(np.full((5, 2, 20), 0.5))
