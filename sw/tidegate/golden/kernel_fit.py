"""Convolutions and poolings of trained networks as kernels that a core can address (``spec/conv.py``)."""

import torch
from torch import Tensor

from ..spec.conv import KERNEL_MAX, SIDE_MAX, STRIDES, Conv2d
from ..spec.errors import ModelError


def fitted_kernel(name: str, image: tuple[int, int, int], weight: Tensor, stride: int, padding: int,
                  depthwise: bool = False) -> tuple[Conv2d, Tensor]:
    """Geometry and weights (output channels, columns) of a convolution of an image (channels, height, width).

    ``weight``: (output channels, channels, k, k), of a ``depthwise`` one (channels, 1, k, k).  A core addresses kernels
    that are at least as large as their stride and leave no pixel unheard.  Other kernels get rows and columns of
    zeros, as few as will do, so that the output is the same.  ``name``: of the module, for messages.

    ModelError for a kernel, stride or image that is too large, and if no kernel of up to 8 x 8 will do.
    """
    kernel, sides = weight.shape[-1], image[1:]
    if max(sides) > SIDE_MAX:
        raise ModelError(f"'{name}' hears an image of {sides[0]} x {sides[1]} pixels; up to {SIDE_MAX} x {SIDE_MAX} "
                         "can be converted: make the images smaller")
    if kernel > KERNEL_MAX:
        raise ModelError(f"'{name}' has a kernel of {kernel} x {kernel}; kernels of up to {KERNEL_MAX} x {KERNEL_MAX} "
                         "can be converted: use several smaller ones, with ReLUs between them")
    rooms = [side + 2 * padding - kernel for side in sides]
    if stride not in STRIDES:
        if any(rooms):
            raise ModelError(f"'{name}' has a stride of {stride}; use a stride of 1, 2 or 4")
        stride = 1                                  # there is one position
    for size in range(max(kernel, stride), KERNEL_MAX + 1):
        for before in range(size - kernel + 1):     # rows and columns of zeros before the kernel; the rest, behind it
            behind, padded = size - kernel - before, padding + before
            if padded < size and all((room + before - behind) // stride == room // stride
                                     and (room + before - behind) % stride <= padded for room in rooms):
                conv = Conv2d(*image, size, stride, padded, depthwise)
                return conv, torch.nn.functional.pad(weight, (before, behind) * 2).flatten(1)
    raise ModelError(f"'{name}' (kernel {kernel}, stride {stride}, padding {padding}) leaves pixels of its {sides[0]} "
                     f"x {sides[1]} unheard; use a smaller stride, or crop the image")
