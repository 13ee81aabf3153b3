"""A layer that hears an image: the same weights at every position of a kernel (``conv2d``).

    M[y', x', o] = b[o] + Σ w[o, c, ky, kx] · v[y, x, c]        y = y'·stride − padding + ky,  x likewise

Signals of images are in the order (y, x, channel).  So an event (y, x, c) feeds, for every ky, neighbouring positions
of the output: one run of accumulator words, whose weights lie one after the other if those of a row of the kernel are
kept in the order in which the positions come.  With stride s these are every s-th weight, from the largest kx on:

    slot(k) = first slot of the class k mod s + (largest k of the class − k) / s

``depthwise``: output channel c hears only input channel c.  With weights that are all alike that is average pooling.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from operator import index
from typing import Any

import numpy as np

from .errors import ModelError

STRIDES = (1, 2, 4)
KERNEL_MAX, SIDE_MAX = 8, 255


@dataclass(frozen=True)
class Conv2d:
    """Geometry of a convolution in two dimensions.

    ``channels``, ``height``, ``width``: of the image that is heard; height and width up to 255 pixels.  ``kernel``:
    its side, 1 to 8 pixels.  ``stride``: 1, 2 or 4, at most ``kernel``.  ``padding``: zeros at each side, fewer than
    ``kernel``.  ``depthwise``: output channel c hears input channel c alone.  ModelError otherwise.
    """

    channels: int
    height: int
    width: int
    kernel: int
    stride: int = 1
    padding: int = 0
    depthwise: bool = False

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "depthwise":
                if type(value) is not bool:
                    raise ModelError(f"'depthwise' of a convolution is true or false, not {value!r:.40}; correct it")
                continue
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise ModelError(f"the {field.name} of a convolution is a whole number, not {value!r:.40}; correct it")
            object.__setattr__(self, field.name, index(value))
        if self.channels < 1 or not 1 <= self.height <= SIDE_MAX or not 1 <= self.width <= SIDE_MAX:
            raise ModelError(f"a convolution hears an image of 1 channel or more and 1 x 1 to {SIDE_MAX} x {SIDE_MAX} "
                             f"pixels, not {self.channels} x {self.height} x {self.width}")
        if not 1 <= self.kernel <= KERNEL_MAX or self.stride not in STRIDES or not 0 <= self.padding < self.kernel:
            raise ModelError(f"a convolution has a kernel of 1 to {KERNEL_MAX}, a stride of 1, 2 or 4, and less "
                             f"padding than kernel, not {self.kernel}, {self.stride} and {self.padding}")
        if self.stride > self.kernel:
            raise ModelError(f"with a kernel of {self.kernel} and a stride of {self.stride} pixels would be heard by "
                             "no output; use a larger kernel or a smaller stride")
        for side, size in (("height", self.height), ("width", self.width)):
            room = size + 2 * self.padding - self.kernel
            if room < 0:
                raise ModelError(f"a kernel of {self.kernel} does not fit the {side} {size} with a padding of "
                                 f"{self.padding}; use a smaller kernel")
            if room % self.stride > self.padding:
                raise ModelError(f"the last {room % self.stride - self.padding} of the image's {side} {size} are heard "
                                 f"by no output of stride {self.stride}; crop the image, or give it more padding")

    @property
    def out_height(self) -> int:
        return (self.height + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def out_width(self) -> int:
        return (self.width + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def inputs(self) -> int:
        """Elements of the image that is heard."""
        return self.channels * self.height * self.width

    @property
    def positions(self) -> int:
        return self.out_height * self.out_width

    @property
    def columns(self) -> int:
        """Weights of an output channel: the columns of its tensor, in the order (c, ky, kx); of a ``depthwise`` one
        (ky, kx)."""
        return self.kernel**2 * (1 if self.depthwise else self.channels)

    @cached_property
    def slots(self) -> tuple[int, ...]:
        """``slots[k]``: the place, in the order of memory, of column (or row) k of the kernel."""
        in_order = [k for first in range(self.stride) for k in reversed(range(first, self.kernel, self.stride))]
        return tuple(in_order.index(k) for k in range(self.kernel))

    def reached(self, at: int, outputs: int) -> range:
        """The rows (columns) of the output that a row (column) of the image reaches."""
        padded = at + self.padding
        first = max(0, -(-(padded - self.kernel + 1) // self.stride))
        return range(first, min(padded // self.stride, outputs - 1) + 1)

    def taps(self) -> np.ndarray:
        """(height, width): how many positions of the output each pixel reaches."""
        rows, columns = ([len(self.reached(k, n)) for k in range(size)] for size, n in (
            (self.height, self.out_height), (self.width, self.out_width)))
        return np.outer(rows, columns)

    def to_dict(self) -> dict:
        return {field.name: value for field in fields(self)
                if (value := getattr(self, field.name)) != field.default}

    @staticmethod
    def from_dict(d: Any) -> "Conv2d":
        """ModelError if the description is not one of a convolution."""
        names = {field.name for field in fields(Conv2d)}
        if not isinstance(d, dict) or d.keys() - names or {"channels", "height", "width", "kernel"} - d.keys():
            raise ModelError(f"{d!r:.80} describes no convolution; correct it")
        return Conv2d(**d)
