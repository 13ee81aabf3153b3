"""State dicts in files: safetensors, and what ``torch.save`` writes."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..golden.chain import FloatChain
from ..golden.state_dict import chain_of
from ..host.contents import CHECKPOINT, PART, PICKLE, SCRIPT, contents_of
from ..spec.errors import ModelError

_INSIDE = ("state_dict", "model_state_dict", "model")       # where checkpoints keep the state dict
_RECURRENT = re.compile(r"(.*?)((?:weight|bias)_(?:ih|hh|hr)_l\d+(?:_reverse)?)")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_safetensors(path: Path) -> FloatChain:
    """The network whose state dict a safetensors file holds; ModelError if there is none."""
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise unreadable(path, "safetensors file", error) from None
    return chain_of_names(state, path)


def read_checkpoint_file(path: Path) -> FloatChain:
    """The network whose state dict ``torch.save`` wrote, alone or under a name such as "state_dict"; ModelError where
    is none.  Nothing but tensors and plain data is loaded, so that a file cannot run code."""
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:      # a damaged file can fail in any way
        found = contents_of(path)
        if found == SCRIPT or (found in (CHECKPOINT, PICKLE) and (
                "weights_only" in str(error) or "Unsupported" in str(error))):
            raise ModelError(f"'{path}' holds more than tensors, such as a whole module, which could run code; save "
                             "its state_dict() with torch.save") from None
        raise unreadable(path, "checkpoint of torch.save", error) from None
    for name in _INSIDE:
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if isinstance(state, Mapping):
        dicts = [part for part in state.values() if isinstance(part, Mapping) and part and all(
            isinstance(value, Tensor) for value in part.values())]
        state = dicts[0] if len(dicts) == 1 and not any(isinstance(v, Tensor) for v in state.values()) else state
    if not isinstance(state, Mapping):
        raise ModelError(f"'{path}' holds {_one(state)}, not a state dict; save the module's state_dict()")
    return chain_of_names(state, path)


def _one(value: Any) -> str:
    """A value of Python in words."""
    name = type(value).__name__
    return "None" if value is None else f"a{'n' if name[:1] in 'aeiou' else ''} {name}"


def chain_of_names(state: Mapping[Any, Any], path: Path) -> FloatChain:
    """The one recurrent module and the one linear module in the state dict of a whole network; ModelError, which names
    the file, if there is another number of these, or more."""
    if not state:
        raise ModelError(f"'{path}' holds no tensors; save the module's state_dict()")
    recurrent: dict[str, dict[str, Tensor]] = {}
    others: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ModelError(f"'{path}' holds {name!r:.60}, which is no tensor; save state_dict() alone")
        if tensor.layout != torch.strided or tensor.is_meta:
            raise ModelError(f"'{path}' holds '{name}' as a {'meta' if tensor.is_meta else 'sparse'} tensor; save "
                             "plain tensors, such as those of its to_dense()")
        if tensor.dtype not in _FLOATS:
            raise ModelError(f"'{path}' holds '{name}' of the type {str(tensor.dtype).removeprefix('torch.')}; save "
                             "weights as float16, bfloat16, float32 or float64")
        if matched := _RECURRENT.fullmatch(name):
            recurrent.setdefault(matched[1], {})[matched[2]] = tensor
        else:
            module, _, what = name.rpartition(".")
            others.setdefault(module, {})[what] = tensor
    linear = {name: part for name, part in others.items()
              if part.keys() <= {"weight", "bias"} and "weight" in part and part["weight"].ndim == 2}
    if more := [name for name in others if name not in linear]:
        raise ModelError(f"'{path}' also holds {', '.join(f'{n or next(iter(others[n]))!r}' for n in more[:4])}, which "
                         "no core computes; compute that before the features, or save one recurrent and one linear one")
    if len(recurrent) != 1 or len(linear) != 1:
        raise ModelError(f"'{path}' holds {len(recurrent)} recurrent and {len(linear)} linear modules, and does not "
                         "say how they are connected; export the network to ONNX, or save one of each")
    return chain_of(next(iter(recurrent.values())), next(iter(linear.values())))


def unreadable(path: Path, kind: str, error: Exception) -> ModelError:
    """The error of a file that is damaged, or that holds something else than its name says."""
    found = contents_of(path)
    if found is not None and found != PART and kind not in found:
        return ModelError(f"'{path}' is not a readable {kind}, but holds {found}; give the file of a trained network "
                          "under the suffix of its kind")
    why = " ".join(str(error).split())
    if "weights_only" in why:           # a page of advice
        why = "its pickle is damaged, or holds more than tensors"
    return ModelError(f"'{path}' is not a readable {kind} ({why[:160] or type(error).__name__}); write it again")


def already_a_model(path: Path) -> ModelError:
    """The error of a model where a trained network is wanted."""
    return ModelError(f"'{path}' is a model of Tidegate already; use it as it is, such as in `tidegate fit {path}`")
