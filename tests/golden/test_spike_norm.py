"""Trained networks as integrate-and-fire neurons: rates, thresholds, balance, and modules that cannot be converted."""

import numpy as np
import pytest
import torch
from torch import nn

from tidegate.golden import Golden
from tidegate.golden.spike_norm import STEP, linear_layers, spike_norm
from tidegate.spec.errors import ModelError

STEPS = 200


def made(seed: int = 0, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 20, bias), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 16, bias),
                         nn.ReLU(), nn.Linear(16, 4, bias)).eval()


def held(seed: int = 1, sequences: int = 12) -> np.ndarray:
    """(sequences, frames, 12): each frame of a sequence the same."""
    x = np.random.default_rng(seed).random((sequences, 1, 12)).astype(np.float32)
    return np.repeat(np.floor(x * 256) / 256, STEPS, 1)


def frames_of(x):
    return np.floor(x * 256 + 0.5).astype(np.int64).swapaxes(0, 1)


@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("balance", ["spikes", "activations"])
def test_rates_become_the_activations(balance, bias):
    module, x = made(bias=bias), held()
    conversion = spike_norm(module, x, balance=balance)
    trace = Golden(conversion.model).run(frames_of(x), keep_sent=True)
    with torch.no_grad():
        heard = torch.from_numpy(x[:, 0])
        wanted, activations = module(heard).numpy(), [module[:k](heard).numpy() for k in (3, 6)]
    before = 1.0
    for sent, activation, v in zip(trace.sent[1:], activations, conversion.thresholds, strict=True):
        before *= v
        assert np.abs((sent / STEP).mean(0) * before - activation).max() < 0.1 * activation.max()
    scale = 2.0 ** -(8 + conversion.model.network.classifier.weight_frac)
    got = trace.logits.mean(0) * scale * before
    assert np.abs(got - wanted).max() < 0.12 * np.abs(wanted).max()
    assert (got.argmax(1) == wanted.argmax(1)).mean() > 0.9


def test_spikes_are_balanced_on_what_the_spiking_network_gets():
    """V of the first layer is the largest weighted sum of the features' spikes; that of a layer twice as strong is
    twice as large, so that the integers do not change."""
    module, x = made(bias=False), held()
    first = spike_norm(module, x)
    weight = module[1].weight.detach().numpy()
    potential, largest = np.zeros((12, 12)), 0.0
    for t in range(STEPS):
        potential += x[:, t]
        spikes = potential >= 1
        potential -= spikes
        largest = max(largest, (spikes @ weight.T).max())
    assert first.thresholds[0] == pytest.approx(largest, rel=1e-5)
    with torch.no_grad():
        module[1].weight *= 2
    second = spike_norm(module, x)
    assert second.thresholds == pytest.approx((2 * first.thresholds[0], first.thresholds[1]))
    for name, tensor in first.model.tensors.items():
        assert np.array_equal(tensor, second.model.tensors[name]), name


def test_a_percentile_lowers_thresholds_and_raises_rates():
    x = held()
    whole, most = spike_norm(made(), x), spike_norm(made(), x, percentile=95)
    assert all(a < b for a, b in zip(most.thresholds, whole.thresholds, strict=True))
    assert all(a > b for a, b in zip(most.rates[1:], whole.rates[1:], strict=True))
    assert most.rates[0] == whole.rates[0]


def test_a_layer_that_never_spikes():
    module = made()
    with torch.no_grad():
        module[1].bias -= 100
    conversion = spike_norm(module, held())
    assert conversion.thresholds[0] == 1 and conversion.rates[1] == 0


@pytest.mark.parametrize("module, text", [
    (nn.Sequential(nn.Linear(12, 4)), "0 layers with ReLU; 1 to 4"),
    (nn.Sequential(nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 2)), "Tanh is no ReLU"),
    (nn.Sequential(nn.Linear(12, 4), nn.ReLU()), "must be a Linear without ReLU"),
    (nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Linear(4, 2)), "Conv1d is no Linear"),
    (nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(5, 2)), "5 inputs follows one of 4 outputs"),
    (nn.Sequential(*[part for _ in range(5) for part in (nn.Linear(12, 12), nn.ReLU())], nn.Linear(12, 2)), "5 layers"),
], ids=["no ReLU", "tanh", "no classifier", "conv", "sizes", "deep"])
def test_modules_that_cannot_be_converted(module, text):
    with pytest.raises(ModelError, match=text) as error:
        spike_norm(module, held())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("frames, options, text", [
    (held() * 2, {}, "within 0..1"), (held()[:, :, :5], {}, "give .sequences, frames, 12."), (held()[:0], {}, "give"),
    (held() - 1, {}, "within 0..1"), (held() * np.nan, {}, "within 0..1"),
    (held(), {"balance": "luck"}, "not on 'luck'"), (held(), {"percentile": 5}, "50 to 100")])
def test_bad_calibration(frames, options, text):
    with pytest.raises(ModelError, match=text):
        spike_norm(made(), frames, **options)


def test_biases_that_do_not_fit():
    module = made()
    with torch.no_grad():
        module[1].bias -= 10_000
    with pytest.raises(ModelError, match="layer 0 has biases"):
        spike_norm(module, held())


def test_weights_that_are_no_numbers():
    module = made()
    with torch.no_grad():
        module[1].weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match="NaN"):
        spike_norm(module, held())
    assert len(linear_layers(made())) == 3
