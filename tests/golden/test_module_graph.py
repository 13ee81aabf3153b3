"""Layers that are read from a graph compute what the network does, or the network is refused in one clear line."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from tidegate.golden.module_graph import module_layers
from tidegate.golden.spike_norm import spike_norm
from tidegate.golden.weight_layer import trained_logits
from tidegate.spec.errors import ModelError


class Made(nn.Module):
    """Modules by name, and what they compute: ``forward(self, x)``."""

    def __init__(self, forward, seed=0, **parts):
        super().__init__()
        self.computes = forward
        for name, part in parts.items():
            setattr(self, name, part)
        torch.manual_seed(seed)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.4)

    def forward(self, x):
        return self.computes(self, x)


def conv(inputs, outputs, kernel=3, stride=1, padding=None, **options):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 if padding is None else padding, **options)


def same_logits(module, shape):
    """The layers, if they compute what the module does."""
    module.eval()
    layers, x = module_layers(module, shape), torch.rand(5, *shape)
    with torch.no_grad():
        wanted = torch.cat([module(one[None]) for one in x])
        heard = x.permute(0, 2, 3, 1).flatten(1) if len(shape) == 3 else x
        got = trained_logits(layers, heard.double()).float()
    assert torch.allclose(got, wanted, atol=1e-4 * float(wanted.abs().max()))
    return layers


def refused(module, shape, text):
    with pytest.raises(ModelError, match=text) as error:
        module_layers(module.eval(), shape)
    assert "\n" not in str(error.value)


def pre_activation():
    def forward(self, x):
        y = self.stem(x)
        return self.head((y + self.block(self.relu(y))).relu().flatten(1))
    return Made(forward, stem=conv(1, 3), block=conv(3, 3), relu=nn.ReLU(), head=nn.Linear(192, 4))


def rectified_twice(self, x):
    y = self.first(x)
    return self.last((y.relu() + (y + x).relu()).relu())


def two_weights(self, x):
    return self.last((F.linear(x, self.w).relu() + F.linear(x, self.v).relu()).relu())


def convolved_again(self, x):
    p = self.first(x).relu()
    return self.last((self.c(p) + self.d(self.c(p).relu())).relu().flatten(1))


AGAIN = {
    "pre-activation": (pre_activation, (1, 8, 8), 2),
    "rectified twice": (lambda: Made(rectified_twice, first=nn.Linear(6, 6), last=nn.Linear(6, 3)), (6,), 3),
    "two weights": (lambda: Made(two_weights, w=nn.Parameter(torch.zeros(6, 6)), v=nn.Parameter(torch.zeros(6, 6)),
                                 last=nn.Linear(6, 3)), (6,), 3),
    "a convolution again": (lambda: Made(convolved_again, first=conv(1, 3), c=conv(3, 3), d=conv(3, 3),
                                         last=nn.Linear(192, 3)), (1, 8, 8), 3),
}


@pytest.mark.parametrize("kind", AGAIN)
def test_what_is_heard_again_is_another_layer(kind):
    made, shape, count = AGAIN[kind]
    assert len(same_logits(made(), shape)) == count + 1


def test_a_layer_that_is_computed_twice_is_one():
    def forward(self, x):
        return self.last((self.second(self.first(x).relu()) + self.first(x).relu()).relu())
    module = Made(forward, first=nn.Linear(6, 6), second=nn.Linear(6, 6), last=nn.Linear(6, 3))
    assert len(same_logits(module, (6,))) == 3


def test_a_sum_has_the_name_of_its_last_layer():
    assert [layer.name for layer in module_layers(pre_activation(), (1, 8, 8))] == ["stem", "block", "classifier"]


def test_sums_that_broadcast_are_refused():
    def forward(self, x):
        return self.last((self.a(x) + self.b(self.a(x).relu())).relu())
    refused(Made(forward, a=nn.Linear(5, 5), b=nn.Linear(5, 1), last=nn.Linear(5, 2)), (5,), "the same shape")
    refused(Made(lambda self, x: self.last((self.a(x) + self.b(self.a(x).relu())).relu().flatten(1)),
                 a=conv(1, 4), b=conv(4, 1), last=nn.Linear(256, 2)), (1, 8, 8), "the same shape")


def viewed(self, x):
    y = self.a(x)
    view = y.view(-1, 5)
    y += self.b(x)
    return self.last(view.relu())


def rebound(self, x):
    y = self.a(x)
    y.add_(self.b(x)).relu_()
    return self.last(y)


@pytest.mark.parametrize("forward", [viewed, rebound])
def test_changes_in_place_are_seen_by_all_that_share_the_memory(forward):
    module = Made(forward, a=nn.Linear(5, 5), b=nn.Linear(5, 5), last=nn.Linear(5, 2))
    assert len(same_logits(module, (5,))) == 2


def test_a_relu_in_place_before_a_junction():
    """The junction hears the rectified sum, too."""
    def forward(self, x):
        y = self.stem(x)
        return self.head((y + self.second(self.first(y.relu_()).relu())).relu().flatten(1))
    module = Made(forward, stem=conv(1, 3), first=conv(3, 3), second=conv(3, 3), head=nn.Linear(192, 4))
    assert [feed.signal for feed in same_logits(module, (1, 8, 8))[2].feeds] == [1, 2]


def weights_of(weight):
    return Made(lambda self, x: self.last(F.linear(x, weight(self)).relu()), w=nn.Parameter(torch.zeros(6, 6)),
                v=nn.Parameter(torch.zeros(6, 6)), last=nn.Linear(6, 2))


@pytest.mark.parametrize("module", [
    nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 6)), nn.ReLU(), nn.Linear(6, 2)),
    nn.Sequential(parametrizations.spectral_norm(nn.Linear(6, 6)), nn.ReLU(), nn.Linear(6, 2)),
    weights_of(lambda self: self.w * self.v), weights_of(lambda self: self.w.t()),
    weights_of(lambda self: self.w * torch.tril(torch.ones(6, 6))),
], ids=["weight norm", "spectral norm", "product", "transposed", "mask"])
def test_weights_that_are_computed_of_others(module):
    same_logits(module, (6,))


def test_a_parametrised_layer_has_its_name():
    module = nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 6)), nn.ReLU(), nn.Linear(6, 2))
    assert module_layers(module, (6,))[0].name == "0"


def pixelwise(parts):
    return nn.Sequential(conv(1, 4), nn.Flatten(), *parts)


REFUSED = {
    "weights of the input": (Made(lambda self, x: self.last(F.linear(x, self.first(x).relu())),
                                  first=nn.Linear(6, 6), last=nn.Linear(1, 2)), (6,), "is computed"),
    "flat normalisation": (pixelwise([nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 2)]), (1, 8, 8),
                           "use BatchNorm2d before the Flatten"),
    "mean of all": (Made(lambda self, x: self.last(x.mean().view(1, 1)), last=nn.Linear(1, 2)), (1, 8, 8),
                    "mean.*AdaptiveAvgPool2d"),
    "mean of a flat image": (Made(lambda self, x: self.last(x.flatten(1).mean(1, keepdim=True)),
                                  last=nn.Linear(1, 2)), (1, 8, 8), "mean.*AdaptiveAvgPool2d"),
    "pixels in the batch": (Made(lambda self, x: self.last(self.c(x).relu().view(-1, 64)), c=conv(1, 4),
                                 last=nn.Linear(64, 2)), (1, 8, 8), "only a Flatten"),
    "another image": (Made(lambda self, x: self.last(self.d(self.c(x).relu().view(-1, 256, 1, 1)).relu().flatten(1)),
                           c=conv(1, 4), d=nn.Conv2d(256, 4, 1), last=nn.Linear(4, 2)), (1, 8, 8), "of another shape"),
    "no class": (nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 0)), (6,), "'classifier' has 0 outputs"),
    "no neuron": (nn.Sequential(nn.Linear(6, 0), nn.ReLU(), nn.Linear(0, 2)), (6,), "'0' has 0 outputs"),
    "nothing hears": (Made(lambda self, x: (self.aside(x).relu(), self.last(self.first(x).relu()))[1],
                           aside=nn.Linear(6, 6), first=nn.Linear(6, 6), last=nn.Linear(6, 2)), (6,),
                      "nothing hears the layer 'aside'; leave it out"),
    "classifier": (Made(lambda self, x: (y := self.first(x).relu(), self.aside(y).relu(), self.last(y))[2],
                        aside=nn.Linear(6, 6), first=nn.Linear(6, 6), last=nn.Linear(6, 2)), (6,),
                   "the last layer must hear 'aside'"),
    "far apart": (Made(lambda self, x: (y := self.a(x).relu(), z := self.b(y).relu(), u := self.c(z).relu(),
                                        self.last((self.d(u) + y).relu()))[-1],
                       a=nn.Linear(6, 6), b=nn.Linear(6, 6), c=nn.Linear(6, 6), d=nn.Linear(6, 6),
                       last=nn.Linear(6, 2)), (6,),
                  "'a' feeds 'b' and 'd', which do not follow each other"),
    "three": (Made(lambda self, x: (p := self.a(x).relu(), q := (self.b(p) + p).relu(),
                                    self.last((self.c(q) + p).relu().flatten(1)))[-1],
                   a=conv(1, 4), b=conv(4, 4, 1), c=conv(4, 4), last=nn.Linear(256, 2)), (1, 8, 8),
              "adds two convolutions of the same signal"),
    "three layers": (Made(lambda self, x: (p := self.a(x).relu(), q := self.b(p).relu(), r := (self.c(q) + p).relu(),
                                           self.last((self.d(r) + p).relu().flatten(1)))[-1],
                          a=conv(1, 4), b=conv(4, 4), c=conv(4, 4), d=conv(4, 4), last=nn.Linear(256, 2)), (1, 8, 8),
                     "'a' feeds 3 convolutions .'b', 'c' and 'd'.*; an image can feed two"),
    "image and list": (Made(lambda self, x: (p := self.a(x).relu(), self.b(p).relu(), self.last(
        self.c(p.flatten(1)).relu()))[-1], a=conv(1, 4), b=conv(4, 4), c=nn.Linear(256, 6), last=nn.Linear(6, 2)),
        (1, 8, 8), "'a' feeds the convolution 'b' and the linear layer 'c'"),
    "not square": (Made(lambda self, x: self.last(F.avg_pool2d(x, (2, 1)).flatten(1)), last=nn.Linear(32, 2)),
                   (1, 8, 8), "square pooling without padding"),
    "large pooling": (nn.Sequential(conv(1, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.ReLU(),
                                    nn.Flatten(), nn.Linear(4, 2)), (1, 16, 16),
                      "'adaptive_avg_pool2d' averages 16 x 16 pixels.*pool in two steps"),
    "large kernel": (nn.Sequential(conv(1, 4, 9), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 2)), (1, 16, 16),
                     "'0' has a kernel of 9 x 9; .* up to 8 x 8"),
    "stride 3": (nn.Sequential(conv(1, 4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)), (1, 8, 8),
                 "'0' has a stride of 3; .*stride of 1, 2 or 4"),
    "groups": (nn.Sequential(conv(1, 4), nn.ReLU(), conv(4, 4, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2)),
               (1, 8, 8), "'2' .*groups only"),
    "wide": (nn.Sequential(conv(1, 1, 4, 4, 0), nn.ReLU(), nn.Flatten(), nn.Linear(4096, 2)), (1, 256, 256),
             "'0' hears an image of 256 x 256 pixels; .*255"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_a_line(kind):
    refused(*REFUSED[kind])


@pytest.mark.parametrize("height, width", [(8, 8), (7, 7), (9, 6), (5, 8)])
@pytest.mark.parametrize("kernel, stride, padding", [
    (1, 2, 0), (1, 2, 1), (1, 4, 0), (2, 4, 0), (3, 4, 1), (3, 2, 0), (2, 2, 0), (1, 1, 1)])
def test_kernels_get_zeros_where_pixels_would_be_heard_by_no_output(height, width, kernel, stride, padding):
    """1 x 1 of stride 2 is the shortcut of most residual networks."""
    for depthwise in (False, True):
        one = nn.Conv2d(2, 2, kernel, stride, padding, groups=2 if depthwise else 1)
        size = one(torch.zeros(1, 2, height, width)).numel()
        layers = same_logits(nn.Sequential(one, nn.ReLU(), nn.Flatten(), nn.Linear(size, 3)), (2, height, width))
        assert layers[0].conv and layers[0].conv.kernel >= stride and layers[0].size == size


def test_a_residual_network_of_the_usual_kind():
    def forward(self, x):
        x = self.stem(x).relu()
        y = self.norm(self.second(self.first(x).relu()))
        x = (y + self.short_norm(self.shortcut(x))).relu()
        return self.fc(self.pool(x).flatten(1))
    module = Made(forward, stem=conv(3, 4), first=conv(4, 6, 3, 2, bias=False), second=conv(6, 6),
                  norm=nn.BatchNorm2d(6), shortcut=conv(4, 6, 1, 2, 0, bias=False),
                  short_norm=nn.BatchNorm2d(6), pool=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(6, 3)).eval()
    for side in (8, 9):
        same_logits(module, (3, side, side))
        frames = np.random.default_rng(0).random((4, 8, 3 * side * side)).astype(np.float32)
        network = spike_norm(module, frames, image=(3, side, side)).model.network
        assert network.layers[-1].skip is not None and network.layers[-1].hears == (1, 2)


@pytest.mark.parametrize("pool, side", [(nn.AvgPool2d(2), 9), (nn.AvgPool2d(3, 2), 8), (nn.AdaptiveAvgPool2d(4), 8),
                                        (nn.AdaptiveAvgPool2d(8), 8), (nn.AdaptiveAvgPool2d(1), 8),
                                        (nn.AdaptiveAvgPool2d(1), 7)])
def test_pooling_before_a_convolution(pool, side):
    size = 3 * pool(torch.zeros(1, 1, side, side)).shape[-1] ** 2
    same_logits(nn.Sequential(conv(2, 3), nn.ReLU(), pool, conv(3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(size, 2)),
                (2, side, side))


def test_dimensions_that_are_squeezed_one_by_one():
    same_logits(Made(lambda self, x: self.last(self.pool(self.c(x).relu()).squeeze(-1).squeeze(-1)), c=conv(1, 4),
                     pool=nn.AdaptiveAvgPool2d(1), last=nn.Linear(4, 2)), (1, 6, 6))
