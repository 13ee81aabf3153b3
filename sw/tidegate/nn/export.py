"""A trained delta layer and its classifier as a model file's content."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from tidegate.golden.integers import classifier_integers_of, integer_model
from tidegate.golden.state_dict import recurrent_and_linear
from tidegate.spec.formats import BIAS_DELTAS
from tidegate.spec.model import Model
from tidegate.spec.network import Network

from .base import IntegerRNN
from .errors import LayerError
from .linear import classifier_shape


@torch.no_grad()
def export(module: nn.Module, classifier: nn.Linear | None = None, labels: Sequence[str] | None = None, *,
           frontend: dict | None = None, mean=None, scale=None, card: dict | None = None) -> Model:
    """The integers that a layer computes with, as a model for ``save_model``, golden model, RTL and boards.

    ``module``: a ``DeltaGRU``, ``DeltaLSTM``, ``LIF`` or ``LMU``, with the ``torch.nn.Linear`` or ``IntLinear`` behind
    it as ``classifier``; or one module that holds one of each and nothing else with parameters.  ``labels`` default to
    "0", "1", ...  ``mean``, ``scale`` (features,): what the script makes of the features before the layer,
    ``(feature - mean) · scale`` in float32; default: nothing.  ``frontend``, ``card``: as in ``spec/model.py``.

    Logits of the model in each frame are exactly what an ``IntLinear`` gives.  LayerError if the parts are not there;
    ModelError if an accumulator could wrap.
    """
    if classifier is None:
        module, found = recurrent_and_linear(module, (IntegerRNN,))
        assert isinstance(found, nn.Linear)
        classifier = found
    if not isinstance(module, IntegerRNN):
        raise LayerError(f"a DeltaGRU, DeltaLSTM, LIF or LMU is exported, not a {type(module).__name__}; "
                         "tidegate.from_torch converts modules of PyTorch")
    if not isinstance(classifier, nn.Linear) or classifier.in_features != module.hidden_size:
        raise LayerError(f"the classifier is a torch.nn.Linear({module.hidden_size}, classes), not {classifier}")
    last, net = classifier_shape(classifier), module.network
    if net.classifier.consumes:         # three bias columns hold any bias
        last = replace(last, consumes=True, bias_columns=0 if classifier.bias is None else len(BIAS_DELTAS))
    net = Network(net.features, net.layers, last, net.thresholds, net.rules)
    labels = tuple(map(str, range(net.classes))) if labels is None else tuple(labels)
    mean = np.zeros(net.features) if mean is None else mean
    scale = np.ones(net.features) if scale is None else scale
    layers = [module.integers(l, net.layers[l]) for l in range(len(net.layers))]
    return integer_model(net, layers, classifier_integers_of(last, classifier.weight, classifier.bias), labels,
                         frontend or {}, mean, scale, card)
