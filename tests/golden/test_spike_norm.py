"""Trained networks as integrate-and-fire neurons: rates, thresholds, balance, and modules that cannot be converted."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from tidegate.golden import Golden
from tidegate.golden.convert import ConversionWarning
from tidegate.golden.kernel import switched_off
from tidegate.golden.module_graph import module_layers
from tidegate.golden.spike_norm import STEP, spike_norm
from tidegate.spec.errors import ModelError

STEPS = 200
SPIKES: dict = {"balance": "spikes", "percentile": 100.0}
PAPER: dict = {**SPIKES, "by_channel": False, "initial": 0.0}


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
@pytest.mark.parametrize("options", [
    PAPER, {**PAPER, "balance": "activations"}, {**SPIKES, "by_channel": False}, SPIKES, {**SPIKES, "initial": 0.0},
    {**PAPER, "balance": "activations", "percentile": 99.9}])
def test_rates_become_the_activations(options, bias):
    module, x = made(bias=bias), held()
    conversion = spike_norm(module, x, **options)
    trace = Golden(conversion.model).run(frames_of(x), keep_sent=True)
    with torch.no_grad():
        heard = torch.from_numpy(x[:, 0])
        wanted, activations = module(heard).numpy(), [module[:k](heard).numpy() for k in (3, 6)]
    for sent, activation, layer in zip(trace.sent[1:], activations, conversion.layers, strict=True):
        if options.get("by_channel") is False:
            assert np.abs((sent / STEP).mean(0) * layer.threshold - activation).max() < 0.1 * activation.max()
        assert layer.error < 0.1 and layer.weight_error < 0.03
    got = logits(conversion, trace)
    assert np.abs(got - wanted).max() < 0.12 * np.abs(wanted).max()
    assert (got.argmax(1) == wanted.argmax(1)).mean() > 0.9


def logits(conversion, trace):
    """Mean logits in the units of the trained network."""
    return trace.logits.mean(0) * 2.0 ** -(8 + conversion.model.network.classifier.weight_frac) \
        * conversion.logit_scale + conversion.logit_offset


def same_integers(conversion, frames):
    """The rates and the model's logits are those of the golden model, event by event and in torch."""
    trace = Golden(conversion.model).run(frames, keep_sent=True)
    elements = [conversion.model.network.elements(s) for s in range(conversion.model.network.signals)]
    assert np.allclose(trace.events.mean((0, 1)) / elements, conversion.rates, atol=1e-12)
    for run in (Golden(conversion.model).run(frames), trace):
        assert np.array_equal(run.logits, trace.logits) and np.array_equal(run.events, trace.events)
        assert np.array_equal(run.weights, trace.weights)
    return trace


def test_a_neuron_that_begins_with_half_its_threshold_rounds():
    """A rate of 0.3 for 5 frames: 1 spike from 0, 2 from 1/2."""
    module = nn.Sequential(nn.Linear(1, 1, False), nn.ReLU(), nn.Linear(1, 2, False))
    with torch.no_grad():
        module[0].weight[:] = 1
    frames = np.full((1, 5, 1), 0.3, np.float32)
    for initial, spikes in ((0, 1), (0.5, 2)):
        conversion = spike_norm(module, frames, balance="activations", percentile=100, initial=initial)
        assert conversion.rates[0] == spikes / 5
        assert conversion.model.network.thresholds == (STEP * (1 - initial),) * 2
        same_integers(conversion, frames_of(frames))


def test_spikes_are_balanced_on_what_the_spiking_network_gets():
    """V of the first layer is the largest weighted sum of the features' spikes; that of a layer twice as strong is
    twice as large, so that the integers do not change."""
    module, x = made(bias=False), held()
    first = spike_norm(module, x, **PAPER)
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
    second = spike_norm(module, x, **PAPER)
    assert second.thresholds == pytest.approx((2 * first.thresholds[0], 2 * first.thresholds[1]))
    for name, tensor in first.model.tensors.items():
        assert np.array_equal(tensor, second.model.tensors[name]), name


def test_a_percentile_lowers_thresholds_and_raises_rates():
    x = held()
    whole, most = (spike_norm(made(), x, **PAPER | {"percentile": p}) for p in (100, 95))
    assert all(a < b for a, b in zip(most.thresholds, whole.thresholds, strict=True))
    assert all(a > b for a, b in zip(most.rates[1:], whole.rates[1:], strict=True))
    assert most.rates[0] == whole.rates[0]


def test_a_layer_that_never_spikes():
    module = made()
    with torch.no_grad():
        module[1].bias -= 100
    with pytest.warns(ConversionWarning):
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


@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize("balance", ["spikes", "activations"])
def test_convolutions_pooling_and_normalisation(balance, by_channel):
    module, rng = pictures(), np.random.default_rng(2)
    images = np.floor(rng.random((16, 2, 8, 8)) * 256) / 256
    features = images.transpose(0, 2, 3, 1).reshape(16, 1, -1)
    frames = np.repeat(features, STEPS, 1).astype(np.float32)
    conversion = spike_norm(module, frames, balance=balance, percentile=100, image=(2, 8, 8), by_channel=by_channel)
    assert [layer.conv is not None for layer in conversion.model.network.layers] == [True] * 3
    with torch.no_grad():
        wanted = module(torch.from_numpy(images).float()).numpy()
    got = logits(conversion, same_integers(conversion, frames_of(frames)))
    assert np.corrcoef(got.ravel(), wanted.ravel())[0, 1] > 0.98
    assert (got.argmax(1) == wanted.argmax(1)).mean() > 0.8


class Junction(nn.Module):
    """A block of a residual network; ``shortcut``: of its other path."""

    def __init__(self, made: int, stride: int, shortcut: nn.Module):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, made, 3, stride, 1), nn.Conv2d(made, made, 3, 1, 1)
        self.norm, self.shortcut = nn.BatchNorm2d(made), shortcut

    def forward(self, x):
        x = torch.relu(x)
        return (self.norm(self.second(self.first(x).relu())) + self.shortcut(x)).relu()


JUNCTIONS = {
    "identity": lambda: Junction(4, 1, nn.Identity()),
    "convolution": lambda: Junction(6, 2, nn.Conv2d(4, 6, 2, 2, bias=False)),
    "pooling": lambda: Junction(6, 2, nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(4, 6, 1))),
    "pooling alone": lambda: Junction(4, 2, nn.AvgPool2d(2)),
}


@pytest.mark.parametrize("balance", ["spikes", "activations"])
@pytest.mark.parametrize("kind", JUNCTIONS)
def test_junctions(kind, balance):
    """Both paths come to the threshold of the junction: its rates are the activations behind the sum."""
    torch.manual_seed(5)
    block = JUNCTIONS[kind]()
    channels = block.second.out_channels
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), block, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                           nn.Linear(channels, 3)).eval()
    images = np.floor(np.random.default_rng(2).random((8, 1, 8, 8)) * 256) / 256
    frames = np.repeat(images.reshape(8, 1, -1), STEPS, 1).astype(np.float32)
    conversion = spike_norm(module, frames, balance=balance, percentile=100, image=(1, 8, 8), by_channel=False)
    assert conversion.layers[-1].name == "1.second" and conversion.layers[0].name == "0"
    junction = conversion.model.network.layers[-1]
    assert junction.skip is not None and len(junction.hears) == 2
    assert [layer.error < 0.1 for layer in conversion.layers] == [True] * len(conversion.layers)
    with torch.no_grad():
        wanted = module(torch.from_numpy(images).float()).numpy()
    got = logits(conversion, same_integers(conversion, frames_of(frames)))
    assert np.abs(got - wanted).max() < 0.1 * np.abs(wanted).max()
    if kind == "identity":      # of threshold 1: in units of the junction's
        weights = conversion.model.tensors["unit.2.weight_ih"][:, 0] * 2.0**-junction.weight_frac
        before, after = conversion.layers[0].threshold, conversion.layers[-1].threshold
        assert weights == pytest.approx(before / after, abs=2.0 ** (1 - junction.weight_frac))


def test_two_branches_of_linear_layers():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = nn.Linear(12, 16), nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x):
            x = self.first(x).relu()
            return self.last((self.second(x) + x).relu())

    torch.manual_seed(0)
    module, x = Wide(), held()
    conversion = spike_norm(module, x, **SPIKES)
    assert len(conversion.layers) == 2          # the weights of the path that passes x on are those of the other + 1
    with torch.no_grad():
        wanted = module(torch.from_numpy(x[:, 0])).numpy()
    got = logits(conversion, same_integers(conversion, frames_of(x)))
    assert np.abs(got - wanted).max() < 0.1 * np.abs(wanted).max()


def test_a_program_of_torch_export():
    module, x = pictures(), np.random.default_rng(2).random((4, 6, 128)).astype(np.float32)
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (torch.zeros(2, 2, 8, 8),), dynamic_shapes=({0: batch},))
    one, other = (spike_norm(given, x, image=(2, 8, 8)).model for given in (module, program))
    assert all(np.array_equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())
    with pytest.raises(ModelError, match=r"hears \(2, 8, 8\), not \(128,\)"):
        spike_norm(program, x)


@pytest.mark.parametrize("balance", ["spikes", "activations"])
def test_a_linear_layer_behind_an_image_hears_the_threshold_of_each_channel(balance):
    torch.manual_seed(4)
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 20), nn.ReLU(), nn.Linear(20, 4))
    with torch.no_grad():
        module[0].weight *= torch.tensor([0.1, 1, 5])[:, None, None, None]
    images = np.floor(np.random.default_rng(3).random((8, 1, 6, 6)) * 256) / 256
    frames = np.repeat(images.reshape(8, 1, -1), STEPS, 1).astype(np.float32)
    conversion = spike_norm(module, frames, balance=balance, percentile=100, image=(1, 6, 6))
    assert all(layer.error < 0.1 for layer in conversion.layers)
    with torch.no_grad():
        wanted = module(torch.from_numpy(images).float()).numpy()
    got = logits(conversion, same_integers(conversion, frames_of(frames)))
    assert np.abs(got - wanted).max() < 0.1 * np.abs(wanted).max()
    assert conversion.float_logits(frames[:, 0]) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("image", [(2, 8, 8), (2, 9, 9)])
def test_pooling_before_a_linear_layer_becomes_part_of_it(image):
    """Also where it leaves out the last row; the sums are those of the trained network."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(48, 5))
    layers = module_layers(module, image)
    assert len(layers) == 2
    x = torch.rand(4, *image)
    signal = layers[0].sums([x.permute(0, 2, 3, 1).flatten(1)[None].double()]).relu()
    with torch.no_grad():
        assert torch.allclose(layers[1].sums([signal])[0].float(), module(x), atol=1e-5)


def test_without_a_compiler():
    frames = held(sequences=3)
    conversion = spike_norm(made(), frames)
    fast = Golden(conversion.model).run(frames_of(frames))
    with switched_off():
        slow = Golden(conversion.model).run(frames_of(frames))
    for name in ("logits", "events", "weights"):
        assert np.array_equal(getattr(fast, name), getattr(slow, name)), name


@pytest.mark.parametrize("module, text", [
    (nn.Sequential(nn.Linear(12, 4)), "0 layers before the last; 1 to 32"),
    (nn.Sequential(nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 2)), "'tanh' .tanh. cannot be converted"),
    (nn.Sequential(nn.Linear(12, 4), nn.ReLU()), "must be a Linear without ReLU"),
    (nn.Sequential(nn.Linear(12, 4), nn.Linear(4, 2)), "hears a sum that no ReLU has rectified"),
    (nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.LayerNorm(4), nn.Linear(4, 2)), "layer_norm. cannot be converted"),
    (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Linear(4, 2)), "cannot follow the module with an input of .12,."),
    (nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(5, 2)), "cannot follow the module"),
    (nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 2)), "put it behind one"),
    (nn.Sequential(*[part for _ in range(33) for part in (nn.Linear(12, 12), nn.ReLU())], nn.Linear(12, 2)),
     "33 layers"),
], ids=["no ReLU", "tanh", "no classifier", "two sums", "layer norm", "no image", "sizes", "batch norm", "deep"])
def test_modules_that_cannot_be_converted(module, text):
    with pytest.raises(ModelError, match=text) as error:
        spike_norm(module, held())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("frames, options, text", [
    (held() * 2, {}, "within 0..1"), (held()[:, :, :5], {}, "check the shape of the calibration data"),
    (held()[:0], {}, "give"), (held() - 1, {}, "within 0..1"), (held() * np.nan, {}, "within 0..1"),
    (held(), {"balance": "luck"}, "not on 'luck'"), (held(), {"percentile": 5}, "50 to 100")])
def test_bad_calibration(frames, options, text):
    with pytest.raises(ModelError, match=text):
        spike_norm(made(), frames, **options)


@pytest.mark.parametrize("part, text", [
    (nn.Conv2d(2, 4, (3, 1)), "square kernels"), (nn.Conv2d(2, 4, 3, dilation=2), "without dilation"),
    (nn.Conv2d(3, 4, 3), "cannot follow the module"), (nn.Conv2d(2, 4, 3, 3), "stride of 1, 2 or 4"),
    (nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), "cannot be converted"),
    (nn.AvgPool2d(2, padding=1), "without padding"), (nn.MaxPool2d(2), "max_pool2d. cannot be converted")])
def test_layers_of_images_that_cannot_be_converted(part, text):
    module = nn.Sequential(part, nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    module(torch.zeros(1, 2, 8, 8)) if "follow" not in text else None
    with pytest.raises(ModelError, match=text) as error:
        module_layers(module, (2, 8, 8))
    assert "\n" not in str(error.value)


def test_biases_that_do_not_fit():
    module = made()
    with torch.no_grad():
        module[1].bias -= 10_000
    with pytest.raises(ModelError, match="layer '1' has biases"):
        spike_norm(module, held())


def test_weights_that_are_no_numbers():
    module = made()
    with torch.no_grad():
        module[1].weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match="NaN"):
        spike_norm(module, held())
    assert len(module_layers(made(), (12,))) == 3


def test_a_first_potential_just_below_the_threshold():
    conversion = spike_norm(made(), held(sequences=2), initial=0.999)
    assert set(conversion.model.network.thresholds) == {1}
    assert conversion.model.card["conversion"]["initial"] == 1 - 1 / STEP


def test_biases_that_all_classes_share_do_not_coarsen_the_classifier():
    module = made()
    plain = spike_norm(module, held(sequences=4))
    with torch.no_grad():
        module[6].bias.add_(1000)       # type: ignore
    conversion, x = spike_norm(module, held(sequences=4)), held(sequences=4)
    assert conversion.logit_offset == pytest.approx(1000, rel=1e-2) and plain.logit_offset == 0
    assert conversion.classifier_error == pytest.approx(plain.classifier_error, abs=0.01)
    got = logits(conversion, Golden(conversion.model).run(frames_of(x)))
    wanted = conversion.float_logits(x[:, 0])
    assert wanted.min() > 900 and np.abs(got - wanted).max() < 0.12 * np.abs(wanted - 1000).max()
    assert conversion.model.card["conversion"]["logit_offset"] == conversion.logit_offset


def test_the_only_logit_keeps_its_bias():
    module = nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 1))
    with torch.no_grad():
        module[2].bias.add_(1000)
    with pytest.warns(ConversionWarning):
        assert spike_norm(module, held(sequences=2)).logit_offset == 0


@pytest.mark.parametrize("layer, name, by_channel, advice", [
    (1, "layer '1'", True, "by_channel=False"), (1, "layer '1'", False, "weight decay"),
    (6, "classifier", True, "weight decay")])
def test_weights_that_int8_changes_much_are_told(layer, name, by_channel, advice):
    """Biases far larger than the weights set the scale."""
    module = made()
    with torch.no_grad():
        dense = module[layer]
        assert isinstance(dense, nn.Linear)
        dense.bias[:] = -110 if layer == 1 else torch.tensor([-1000, 0, 0, 1000])
    with pytest.warns(ConversionWarning, match=f"int8 .*{name}.*{advice}") as told:
        spike_norm(module, held(sequences=2), by_channel=by_channel)
    assert all("\n" not in str(one.message) and one.filename == __file__ for one in told)


def test_frames_of_one_step_and_frames_that_cannot_be_written():
    """Without a warning of PyTorch or numpy."""
    x = np.random.default_rng(0).random((4, 12)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conversion = spike_norm(made(), np.broadcast_to(x[:, None], (4, 1, 12)))
        conversion.float_logits(np.broadcast_to(x[:1], (3, 12)))
        conversion.float_logits((x > 0.5).astype(np.uint8))
        with pytest.raises(ModelError, match=r"within 0..1"):
            spike_norm(made(), np.full((2, 1, 12), 1e300))
