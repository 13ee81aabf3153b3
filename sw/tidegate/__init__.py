"""Tidegate: an open delta-RNN.  ``from tidegate import Board, load_model``.

The names are fetched when they are first used, so that ``tidegate.spec`` can be imported on its own.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .golden.convert import convert, from_torch
    from .golden.float_comparison import compare_float
    from .golden.spike_norm import spike_norm
    from .host.board import Board
    from .host.features import features_of
    from .host.fit import fit
    from .host.frame_result import FrameResult
    from .spec.errors import TidegateError
    from .spec.model import save_model
    from .train.fit.finetune import finetune
    from .zoo import load as load_model

__all__ = ["Board", "FrameResult", "TidegateError", "compare_float", "convert", "features_of", "finetune", "fit",
           "from_torch", "load_model", "save_model", "spike_norm"]

_HOME = {
    "Board": (".host.board", "Board"),
    "FrameResult": (".host.frame_result", "FrameResult"),
    "TidegateError": (".spec.errors", "TidegateError"),
    "compare_float": (".golden.float_comparison", "compare_float"),
    "convert": (".golden.convert", "convert"),
    "features_of": (".host.features", "features_of"),
    "finetune": (".train.fit.finetune", "finetune"),
    "fit": (".host.fit", "fit"),
    "from_torch": (".golden.convert", "from_torch"),
    "load_model": (".zoo", "load"),
    "save_model": (".spec.model", "save_model"),
    "spike_norm": (".golden.spike_norm", "spike_norm"),
}


def __getattr__(name: str):
    if name == "__version__":
        from importlib.metadata import version

        return version("tidegate")
    if name not in _HOME:
        raise AttributeError(f"module 'tidegate' has no attribute '{name}'")
    module, attribute = _HOME[name]
    value = getattr(import_module(module, __name__), attribute)
    globals()[name] = value
    return value
