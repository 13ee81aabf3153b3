"""Files that are empty, cut, unreadable or of another kind than their names say: one line each, nothing is written."""

import os
import pickle
import warnings

import numpy as np
import onnx
import pytest
import torch
from made_networks import exported, model_of
from refusing import net, refused, zipped
from safetensors.torch import save_file

from tidegate import from_torch
from tidegate.importers import registry
from tidegate.spec.model import save_model


def arrays(path):
    with open(path, "wb") as file:
        np.savez(file, a=np.zeros(3), b=np.ones(2))


def scripted_module(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(net()).save(path)


def without_its_weights(path):
    proto = onnx.load_from_string(exported(net()))
    onnx.save_model(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (path.parent / "weights.bin").unlink()


def of_state(**changes):
    """A state dict with entries of ``net()`` changed."""
    return {**net().state_dict(), **{name.replace("__", "."): value for name, value in changes.items()}}


FILES = {       # name of the file, what writes it, what is said
    "nothing": ("n.pt", lambda path: path.touch(), r"is empty \(0 bytes\)"),
    "an empty ONNX file": ("n.onnx", lambda path: path.touch(), r"is empty \(0 bytes\)"),
    "an empty safetensors file": ("n.safetensors", lambda path: path.touch(), r"is empty \(0 bytes\)"),
    "an empty NIR file": ("n.nir", lambda path: path.touch(), r"is empty \(0 bytes\)"),
    "a folder": ("n.onnx", lambda path: path.mkdir(), "is a folder; give the file"),
    "text": ("n.pt", lambda path: path.write_text("a,b\n1,2\n"),
        "but holds text, which begins with 'a,b 1,2'"),
    "text as ONNX": ("n.onnx", lambda path: path.write_text("a,b\n1,2\n"), "ONNX file, but holds text"),
    "arrays": ("n.pt", arrays, "but holds an archive of numpy arrays"),
    "arrays as pt2": ("n.pt2", arrays, "but holds an archive of numpy arrays"),
    "a zip archive": ("n.pth", zipped, r"but holds a zip archive \(a.txt\)"),
    "a checkpoint as ONNX": ("n.onnx", lambda path: torch.save(net().state_dict(), path),
        "but holds a checkpoint of torch.save"),
    "a checkpoint as safetensors": ("n.safetensors", lambda path: torch.save(net().state_dict(), path),
        "but holds a checkpoint of torch.save"),
    "safetensors as a checkpoint": ("n.pt", lambda path: save_file(net().state_dict(), path),
        "but holds a safetensors file"),
    "a model of Tidegate": ("n.tidegate", lambda path: save_model(from_torch(net().rnn, net().fc), path),
        "is a model of Tidegate already"),
    "a model under another name": ("n.safetensors", lambda path: save_model(from_torch(net().rnn, net().fc), path),
        "is a model of Tidegate already"),
    "a pickle": ("n.pt", lambda path: path.write_bytes(pickle.dumps({"a": np.zeros(3)})), "holds more than tensors"),
    "TorchScript": ("n.pt", scripted_module, "holds more than tensors"),
    "one tensor": ("n.pt", lambda path: torch.save(torch.zeros(3), path), "holds a Tensor, not a state dict"),
    "None": ("n.pt", lambda path: torch.save(None, path), "holds None, not a state dict"),
    "two state dicts": ("n.pt", lambda path: torch.save({"a": net().state_dict(), "b": net().state_dict()}, path),
        "holds 'a', which is no tensor"),
    "half a checkpoint": ("n.pt", lambda path: (torch.save(net().state_dict(), path), halved(path)),
        "is not a readable checkpoint"),
    "half a safetensors file": ("n.safetensors", lambda path: (save_file(net().state_dict(), path), halved(path)),
        "is not a readable safetensors file"),
    "an ONNX file without its weights": ("n.onnx", without_its_weights,
        "another file, 'weights.bin', which is not beside"),
    "NaN": ("n.pt", lambda path: torch.save(of_state(rnn__weight_ih_l0=torch.full((30, 6), torch.nan)), path),
        "layer 0 has a weight or bias that is NaN"),
    "infinity": ("n.safetensors", lambda path: save_file(of_state(fc__bias=torch.full((4,), torch.inf)), path),
        "the classifier has a weight or bias that is NaN or infinite"),
    "complex weights": ("n.pt", lambda path: torch.save(of_state(fc__bias=torch.zeros(4, dtype=torch.complex64)), path),
        "'fc.bias' of the type complex64"),
    "a sparse tensor": ("n.pt", lambda path: torch.save(of_state(fc__weight=torch.zeros(4, 10).to_sparse()), path),
        "'fc.weight' as a sparse tensor"),
    "no neuron": ("n.pt", lambda path: torch.save({
        "rnn.weight_ih_l0": torch.zeros(0, 6), "rnn.weight_hh_l0": torch.zeros(0, 0), "fc.weight": torch.zeros(4, 0)},
        path), "without elements"),
    "no layer": ("n.pt", lambda path: torch.save({"fc.weight": torch.zeros(4, 6)}, path),
        "holds 0 recurrent and 1 linear modules"),
    "a graph without nodes": ("n.onnx", lambda path: path.write_bytes(model_of([], [], 6)), "which nothing makes"),
}


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("what", FILES)
def test_files_of_another_kind_are_named(what, tmp_path):
    name, write, text = FILES[what]
    write(tmp_path / name)
    refused(text, tmp_path / name, out_file=tmp_path / "m.tidegate")
    assert not (tmp_path / "m.tidegate").exists()


def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "n.pt"
    torch.save(net().state_dict(), path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads every file")
    refused("cannot be read", path, out_file=tmp_path / "m.tidegate")


def test_a_state_dict_under_any_one_name_is_read(tmp_path):
    torch.save({"epoch": 3, "net": net().state_dict(), "optimiser": {"state": {}}}, tmp_path / "n.pt")
    assert registry.read_network(tmp_path / "n.pt").layers[0].size == 10
