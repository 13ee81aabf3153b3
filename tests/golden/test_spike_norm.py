"""Trained networks as integrate-and-fire neurons: rates, thresholds, balance, and modules that cannot be converted."""

import numpy as np
import pytest
import torch
from torch import nn

from tidegate.golden import Golden
from tidegate.golden.spike_norm import STEP, spike_norm, weight_layers
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


def pictures() -> nn.Sequential:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2), nn.Dropout2d(),
                           nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), nn.ReLU(), nn.Flatten(),
                           nn.Linear(32, 4))
    norm = module[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.uniform_(-0.2, 0.2)
    norm.running_var.uniform_(0.05, 0.2)
    return module.eval()


@pytest.mark.parametrize("balance", ["spikes", "activations"])
def test_convolutions_pooling_and_normalisation(balance):
    module, rng = pictures(), np.random.default_rng(2)
    images = np.floor(rng.random((16, 2, 8, 8)) * 256) / 256
    features = images.transpose(0, 2, 3, 1).reshape(16, 1, -1)
    frames = np.repeat(features, STEPS, 1).astype(np.float32)
    conversion = spike_norm(module, frames, balance=balance, image=(2, 8, 8))
    assert [layer.conv is not None for layer in conversion.model.network.layers] == [True] * 3
    with torch.no_grad():
        wanted = module(torch.from_numpy(images).float()).numpy()
    trace = Golden(conversion.model).run(frames_of(frames))
    scale = 2.0 ** -(8 + conversion.model.network.classifier.weight_frac)
    got = trace.logits.mean(0) * scale * np.prod(conversion.thresholds)
    assert np.corrcoef(got.ravel(), wanted.ravel())[0, 1] > 0.98
    assert (got.argmax(1) == wanted.argmax(1)).mean() > 0.8


@pytest.mark.parametrize("module, text", [
    (nn.Sequential(nn.Linear(12, 4)), "0 layers before the last; 1 to 4"),
    (nn.Sequential(nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 2)), "Tanh is no ReLU"),
    (nn.Sequential(nn.Linear(12, 4), nn.ReLU()), "must be a Linear without ReLU"),
    (nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Linear(4, 2)), "Conv1d cannot be converted"),
    (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Linear(4, 2)), "Conv2d needs an image"),
    (nn.Sequential(nn.ReLU(), nn.Linear(4, 2)), "follows no Linear"),
    (nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(5, 2)), "5 inputs follows a layer of 4 outputs"),
    (nn.Sequential(*[part for _ in range(5) for part in (nn.Linear(12, 12), nn.ReLU())], nn.Linear(12, 2)), "5 layers"),
], ids=["no ReLU", "tanh", "no classifier", "conv1d", "no image", "ReLU", "sizes", "deep"])
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


@pytest.mark.parametrize("part, text", [
    (nn.Conv2d(2, 4, (3, 1)), "square kernels"), (nn.Conv2d(2, 4, 3, dilation=2), "without dilation"),
    (nn.Conv2d(3, 4, 3), "hears 3 channels, the layer before it makes 2"),
    (nn.Conv2d(2, 4, 3, 3), "stride of 1, 2 or 4"),
    (nn.AvgPool2d(2, padding=1), "without padding"), (nn.AvgPool2d(3, 2), "heard by no output")])
def test_layers_of_images_that_cannot_be_converted(part, text):
    module = nn.Sequential(part, *([nn.ReLU()] if isinstance(part, nn.Conv2d) else []), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(ModelError, match=text) as error:
        spike_norm(module, held(), image=(2, 8, 8))
    assert "\n" not in str(error.value)


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
    assert len(weight_layers(made())) == 3
