"""ONNX files as a ``FloatChain``: recurrent layers, linear ones between and behind them, and the glue of exporters."""

from pathlib import Path

import onnx
from onnx import external_data_helper

from ..golden.chain import FloatChain
from ..spec.errors import ModelError
from . import onnx_layers, onnx_shapes  # noqa: F401 (they register what the graph may hold)
from .onnx_graph import OnnxGraph
from .tensors import unreadable


def read_onnx(path: Path) -> FloatChain:
    """The network in an ONNX file; ModelError names the first node that the engine cannot compute."""
    try:
        proto = onnx.load(path, load_external_data=False)
        _add_external_data(proto, path)
        graph = OnnxGraph(proto)
    except ModelError:
        raise
    except Exception as error:      # protobuf, a missing file of weights, ...
        raise unreadable(path, "ONNX file", error) from None
    return graph.chain(path)


def _add_external_data(proto: onnx.ModelProto, path: Path) -> None:
    """Reads the weights that are in other files; ModelError names the first file that is missing."""
    for tensor in proto.graph.initializer:
        if external_data_helper.uses_external_data(tensor):
            name = external_data_helper.ExternalDataInfo(tensor).location
            if not (path.parent / name).is_file():
                raise ModelError(f"'{path}' has its weights in another file, '{name}', which is not beside it; copy "
                                 "that, too, or export with external_data=False")
    external_data_helper.load_external_data_for_model(proto, str(path.parent))
