"""ONNX files as a ``FloatChain``: recurrent layers, linear ones between and behind them, and the glue of exporters."""

from pathlib import Path

import onnx

from ..golden.chain import FloatChain
from ..spec.errors import ModelError
from . import onnx_layers, onnx_shapes  # noqa: F401 (they register what the graph may hold)
from .onnx_graph import OnnxGraph
from .tensors import unreadable


def read_onnx(path: Path) -> FloatChain:
    """The network in an ONNX file; ModelError names the first node that the engine cannot compute."""
    try:
        proto = onnx.load(path)
        graph = OnnxGraph(proto)
    except ModelError:
        raise
    except Exception as error:      # protobuf, a missing file of weights, ...
        raise unreadable(path, "ONNX file", error) from None
    return graph.chain(path)
