"""Deep networks for conversion to spiking ones: a plain one and a residual one, and how they are trained.

Both are conventional: convolutions 3 x 3 with batch normalisation and ReLU, average pooling, dropout, a linear layer.
Neither has max pooling, of which a spiking network has no equivalent.  Every junction of the residual one has a ReLU.
Where a block halves the image, its shortcut is a convolution 2 x 2 of stride 2, which hears every pixel.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..data.image_sets import ImageSet, varied

_EVALUATED = 500        # images at once


class Training(NamedTuple):
    """SGD with one cycle of the learning rate; ``shift``: pixels by which images are moved, ``flip``: or mirrored."""

    epochs: int = 24
    batch: int = 128
    learning_rate: float = 0.2
    decay: float = 5e-4
    shift: int = 2
    flip: bool = True
    smoothing: float = 0.05


def _convolved(channels: int, made: int, kernel: int = 3, stride: int = 1) -> OrderedDict[str, nn.Module]:
    convolution = nn.Conv2d(channels, made, kernel, stride, kernel // 2 if kernel % 2 else 0, bias=False)
    return OrderedDict(conv=convolution, norm=nn.BatchNorm2d(made))


class Block(nn.Module):
    """Two convolutions and a shortcut around them, which are added before the second ReLU."""

    def __init__(self, channels: int, made: int, stride: int = 1):
        super().__init__()
        self.first = nn.Sequential(_convolved(channels, made, stride=stride) | {"relu": nn.ReLU()})
        self.second = nn.Sequential(_convolved(made, made))
        same = stride == 1 and channels == made
        self.shortcut = nn.Identity() if same else nn.Sequential(_convolved(channels, made, stride, stride))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(self.first(x)) + self.shortcut(x))


def vgg(image: tuple[int, int, int], classes: int, widths: tuple[int, ...] = (16, 32, 64),
        each: tuple[int, ...] = (2, 2, 2), stride: int = 1) -> nn.Sequential:
    """``each`` convolutions of each width, average pooling 2 x 2 between them, and a linear layer.  The first
    convolution has a ``stride``."""
    channels, height, width = image
    parts: list[nn.Module] = []
    height, width = height // stride, width // stride
    for k, (made, count) in enumerate(zip(widths, each, strict=True)):
        if k:
            parts.append(nn.AvgPool2d(2))
            height, width = height // 2, width // 2
        for n in range(count):
            parts += [*_convolved(channels, made, stride=1 if k or n else stride).values(), nn.ReLU()]
            channels = made
    return nn.Sequential(*parts, nn.Flatten(), nn.Dropout(0.3), nn.Linear(channels * height * width, classes))


def resnet(image: tuple[int, int, int], classes: int, widths: tuple[int, ...] = (16, 32, 64),
           each: int = 1) -> nn.Sequential:
    """A convolution, ``each`` blocks of each width, of which the first ones halve the image from the second width on,
    and a linear layer.

    The linear layer hears all positions.  The mean of them, which other residual networks have there, costs accuracy
    on small images, and a conversion makes no less work of it: the linear layer would hold it.
    """
    channels, height, width = image
    parts: list[nn.Module] = [nn.Sequential(_convolved(channels, widths[0]) | {"relu": nn.ReLU()})]
    channels = widths[0]
    for k, made in enumerate(widths):
        for n in range(each):
            parts.append(Block(channels, made, 2 if k and not n else 1))
            channels = made
        if k:
            height, width = height // 2, width // 2
    return nn.Sequential(*parts, nn.Flatten(), nn.Dropout(0.3), nn.Linear(channels * height * width, classes))


NETWORKS: dict[str, Callable[[tuple[int, int, int], int], nn.Module]] = {
    "vgg": vgg, "vgg-small": partial(vgg, widths=(16, 32), each=(2, 4), stride=2), "resnet": resnet}


def train(network: nn.Module, image_set: ImageSet, training: Training, seed: int,
          tell: Callable[[int, float, float], None] = lambda epoch, loss, right: None) -> nn.Module:
    """The network, trained from the seed; ``tell``: (epoch, mean loss, accuracy on the validation part), which has an
    image at least, as the training part.

    Products are of bfloat16 where the CPU has them; all that is judged is computed in float32.
    """
    rng = torch.Generator().manual_seed(seed)
    clips = torch.from_numpy(image_set.of("train"))
    at_once = min(training.batch, len(clips))
    batches = len(clips) // at_once
    network = network.to(memory_format=torch.channels_last)     # pyright: ignore[reportCallIssue]
    optimiser = torch.optim.SGD(network.parameters(), training.learning_rate, 0.9, weight_decay=training.decay,
                                nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, training.learning_rate,
                                                   total_steps=training.epochs * batches + 1)
    images, targets = as_tensor(image_set), torch.from_numpy(image_set.targets)
    for epoch in range(training.epochs):
        network.train()
        total = 0.0
        for batch in clips[torch.randperm(len(clips), generator=rng)].split(at_once)[:batches]:
            x = varied(images[batch], rng, training.shift, training.flip).float().div_(255)
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(network(x.contiguous(memory_format=torch.channels_last)),
                                                   targets[batch], label_smoothing=training.smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        tell(epoch, total / batches, accuracy(network, image_set, image_set.of("validation")))
    return network.eval()


def as_tensor(image_set: ImageSet) -> Tensor:
    """uint8 (images, channels, height, width)."""
    return torch.from_numpy(image_set.values).permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy(network: nn.Module, image_set: ImageSet, clips: np.ndarray) -> float:
    """Share of images that a trained network tells right."""
    network.eval()
    images, right = as_tensor(image_set), 0
    for batch in torch.from_numpy(clips).split(_EVALUATED):
        answers = network(images[batch].float() / 255).argmax(1)
        right += int((answers == torch.from_numpy(image_set.targets)[batch]).sum())
    return right / len(clips)
