"""Programs of ``torch.export`` (``.pt2``): their state dict, once the graph shows that nothing else is computed."""

from dataclasses import replace
from pathlib import Path

from torch import fx
from torch.export.graph_signature import InputKind

from ..golden.chain import FloatChain
from ..spec.errors import ModelError
from .program import read_program
from .tensors import chain_of_names

_COMPUTE = ("gru", "lstm", "linear")
_OF_IMAGES = ("conv2d", "relu", "relu_", "avg_pool2d", "batch_norm", "flatten")
_GLUE = ("select", "slice", "transpose", "permute", "squeeze", "unsqueeze", "dropout", "zeros", "alias", "clone",
         "detach", "contiguous", "_to_copy", "to", "sym_size", "view", "expand", "lift_fresh_copy")


def read_exported(path: Path) -> FloatChain:
    """The network in a program of ``torch.export``; ModelError names the first node that the engine cannot compute."""
    program = read_program(path)
    last, recurrent = False, any(_operation(node) in ("gru", "lstm") for node in program.graph.nodes)
    zeros = {"zeros"}
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        name = _operation(node)
        if name == "getitem":
            if node.args[1] and any(user.op == "call_function" for user in node.users):
                last = True             # h_n of the last frame
            continue
        if name not in (*_COMPUTE, *_GLUE):
            if name in _OF_IMAGES and not recurrent:
                raise ModelError(f"'{path.name}' is no GRU or LSTM (its node '{node.name}' is {name}); for a network "
                                 "of images use `tidegate convert`")
            raise ModelError(f"the engine has nothing for the node '{node.name}' ({name}); it runs GRU and LSTM layers "
                             "and a linear one, so compute the rest before the features or leave it out")
        if name in ("gru", "lstm"):
            state = node.args[1] if isinstance(node.args[1], list | tuple) else [node.args[1]]
            if any(getattr(s.target, "__name__", "").split(".")[0] not in zeros for s in state):
                raise ModelError(f"the node '{node.name}' ({name}) begins with a state that is not 0, as the engine "
                                 "does; leave it out")
        if name in ("select", "slice") and node.args[2] == -1:
            last = True
        elif name == "select" or (name == "slice" and len(node.args) > 2 and node.args[2] not in (0, None)):
            raise ModelError(f"the node '{node.name}' ({name}) takes a part of the frames; take the last one (-1) "
                             "or all")
    names = {spec.target for spec in program.graph_signature.input_specs
             if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER)}
    state = {name: tensor for name, tensor in program.state_dict.items() if name in names}
    return replace(chain_of_names(state, path), readout="last" if last else "frames")


def _operation(node: fx.Node) -> str:
    """The operation of a node, without its namespace and overload, such as "conv2d"."""
    return getattr(node.target, "__name__", str(node.target)).split(".")[0]
