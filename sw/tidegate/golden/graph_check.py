"""Whether layers that were read from a trained network can be connected, and compute what the network does."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind
from torch.utils._pytree import tree_leaves

from ..spec.errors import ModelError
from .weight_layer import WeightLayer, trained_logits

_FAR = 1e-3         # of the largest logit: more is no rounding of float32
_DRAWN = 2          # images of noise, which reach what calibration images may leave dark


def check_connections(layers: Sequence[WeightLayer]) -> None:
    """ModelError, with the names of layers, if a core cannot bring each signal to what hears it, or if a layer has no
    outputs.  The last of ``layers`` is the classifier."""
    for layer in layers:
        if not len(layer.bias):
            raise ModelError(f"the layer '{layer.name}' has 0 outputs; give it one or more")
    for s in range(len(layers)):
        made = f"'{layers[s - 1].name}'" if s else "the input"
        hearing = [(l, feed.conv) for l, layer in enumerate(layers) for feed in layer.feeds if feed.signal == s]
        names = [f"'{layers[l].name}'" for l, _ in hearing]
        if not hearing:
            raise ModelError(f"nothing hears {f'the layer {made}' if s else made}; leave it out of the network")
        images = [name for name, (_, conv) in zip(names, hearing, strict=True) if conv is not None]
        if images and len(images) < len(names):
            other = next(name for name in names if name not in images)
            raise ModelError(f"{made} feeds the convolution {images[0]} and the linear layer {other}; let convolutions "
                             "or linear layers hear it, not both")
        if len(images) > 2:
            raise ModelError(f"{made} feeds {len(images)} convolutions ({', '.join(names[:-1])} and {names[-1]}); an "
                             "image can feed two: let one of them hear the output of another")
        for (l, conv), (m, _), one, other in zip(hearing, hearing[1:], names, names[1:], strict=False):
            if conv is None and m != l + 1:
                raise ModelError(f"{made} feeds {one} and {other}, which do not follow each other; let only linear "
                                 "layers that follow each other hear one signal")


@torch.no_grad()
def check_logits(layers: Sequence[WeightLayer], module: nn.Module | torch.export.ExportedProgram, x: np.ndarray,
                 image: tuple[int, int, int] | None) -> None:
    """ModelError if the logits of ``layers`` are not those of the module or program that they were read from.

    ``x``: (n, features), 0..1, of images in the order (y, x, channel); some images of noise are tried, too.  The
    module computes in float32, in evaluation, one image at a time.
    """
    drawn = np.random.default_rng(0).random((_DRAWN, x.shape[1]), np.float32)
    heard = torch.from_numpy(np.concatenate([x.astype(np.float32), drawn]))
    shaped = heard if image is None else heard.unflatten(1, (*image[1:], image[0])).permute(0, 3, 1, 2).contiguous()
    try:
        wanted = _of_program(module, shaped) if isinstance(module, torch.export.ExportedProgram) else _of_module(
            module, shaped)
    except Exception as error:      # whatever the network's own code raises
        why = str(error).strip().split("\n")[0]
        raise ModelError(f"the network cannot be run on the calibration data: {why:.200}; try the module itself with "
                         "one image, and export it again") from None
    got = trained_logits(layers, heard.double())
    if got.shape != wanted.shape:
        raise ModelError(f"the network gives {tuple(wanted.shape[1:])} for an image, not ({got.shape[1]},) logits; let "
                         "it end with a Linear")
    most, far = float(wanted.abs().max()), float((got - wanted).abs().max())
    if not far <= _FAR * most:
        raise ModelError(f"the layers that were read differ from the network by {far:.3g} where its largest logit is "
                         f"{most:.3g}; write forward with plain layers, without changes in place, and report this")


def _of_module(module: nn.Module, x: Tensor) -> Tensor:
    module = copy.deepcopy(module).float().cpu().eval()
    return torch.cat([tree_leaves(module(one[None]))[0] for one in x]).double()      # perhaps in a tuple or dict


def _of_program(program: torch.export.ExportedProgram, x: Tensor) -> Tensor:
    """Logits of a program, for the batch size that it was exported with."""
    held = {name: value.detach().clone() if isinstance(value, Tensor) else value
            for name, value in {**program.constants, **program.state_dict}.items()}
    held = {name: value.float().cpu() if isinstance(value, Tensor) and value.is_floating_point() else value
            for name, value in held.items()}
    specs = program.graph_signature.input_specs
    names = [spec.arg.name for spec in specs if spec.kind == InputKind.USER_INPUT]
    size = next(node.meta["val"].shape[0] for node in program.graph.nodes if node.name == names[0])
    count = size if isinstance(size, int) else 1
    outputs = []
    for one in x:
        given: list[Any] = [one.expand(count, *one.shape).clone() if spec.kind == InputKind.USER_INPUT
                            else held.get(spec.target or "") for spec in specs]
        out = _Evaluation(program.graph_module).run(*given, enable_io_processing=False)
        outputs.append(out[-1][:1])
    return torch.cat(outputs).double()


class _Evaluation(fx.Interpreter):
    """Runs a graph without dropout, also one that was exported while training."""

    def call_function(self, target, args, kwargs):
        return args[0] if "dropout" in str(target) else super().call_function(target, args, kwargs)
