"""A classifier behind a delta layer, in the integers of the core."""

import torch
from torch import Tensor, nn

from tidegate.golden.integers import classifier_integers_of
from tidegate.golden.scale import finest
from tidegate.spec.cells import GRU
from tidegate.spec.formats import SIGNAL, acc_frac
from tidegate.spec.layer import Layer

_REACH = 1 << SIGNAL.frac               # of what a layer's signal adds, in LSBs: a spike is 1


class IntLinear(nn.Linear):
    """``torch.nn.Linear`` whose weights and biases are rounded as ``export`` does it, with straight-through gradients.

    Behind a layer of ``tidegate.nn`` its outputs are exactly the logits of the exported model.  A plain
    ``torch.nn.Linear`` may be exported, too; its weights are rounded only then.

    Weights have 8 bits, and the largest number of fraction bits at which all of them are in range.
    """

    @property
    def shape(self) -> Layer:
        """The classifier's description, with the scale of this moment."""
        return classifier_shape(self)

    def forward(self, input: Tensor) -> Tensor:
        """``input`` (..., in_features) → (..., out_features)."""
        shape = self.shape
        with torch.autocast(input.device.type, enabled=False):
            weight, bias = classifier_integers_of(shape, self.weight, self.bias)
            return nn.functional.linear(input, weight * 2.0**-shape.weight_frac,
                                        bias * 2.0 ** -acc_frac(shape.weight_frac))


def classifier_shape(linear: nn.Linear) -> Layer:
    """The description of a classifier, with the finest scale that holds its weights."""
    bias = linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
    return Layer(linear.out_features, finest(GRU, [linear.weight], bias, [_REACH]))
