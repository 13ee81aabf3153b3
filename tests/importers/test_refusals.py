"""Files that hold what the engine does not, and files that are damaged: one line each, that names the node and op."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from command import fails, tidegate
from made_networks import by_hand, exported, model_of
from onnx import helper, numpy_helper
from refusing import net, refused, zipped
from safetensors.torch import save_file

from tidegate.importers import registry
from tidegate.spec.model import read_model


def changed(data, **changes):
    """The model with attributes of its first node changed (None: without)."""
    proto = onnx.load_from_string(data)
    node = proto.graph.node[0]
    for name, value in changes.items():
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend(kept + ([] if value is None else [helper.make_attribute(name, value)]))
    return proto.SerializeToString()


def fed(data, place, array):
    """The model with a constant at an input of its first node."""
    proto = onnx.load_from_string(data)
    node = proto.graph.node[0]
    node.input.extend([""] * (place + 1 - len(node.input)))
    node.input[place] = "fed"
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(array), "fed"))
    return proto.SerializeToString()


def before(op, **attributes):
    """A GRU with another node in front of it."""
    proto = onnx.load_from_string(by_hand(net()))
    inputs = ["x", "x"] if op in ("Add", "Mul") else ["x"]
    proto.graph.node[0].input[0] = "fronted"
    proto.graph.node.insert(0, helper.make_node(op, inputs, ["fronted"], "front", **attributes))
    return proto.SerializeToString()


def behind(*nodes, constants=()):
    """A GRU whose output ``s0`` (time, batch, 10) goes into other nodes, the last of which makes y."""
    proto = onnx.load_from_string(by_hand(net()))
    kept = list(proto.graph.node)[:2]
    del proto.graph.node[:]
    proto.graph.node.extend([*kept, *nodes])
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), n) for n, a in constants)
    return proto.SerializeToString()


def scripted():
    class Conv(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.front, self.rnn = torch.nn.Conv1d(6, 6, 3, padding=1), torch.nn.GRU(6, 10, batch_first=True)
            self.fc = torch.nn.Linear(10, 4)

        def forward(self, x):
            return self.fc(self.rnn(self.front(x.transpose(1, 2)).transpose(1, 2))[0])

    return exported(Conv())


ONNX = {
    "a convolution": (scripted, r"'.*Conv.*' \(Conv\)"),
    "a reset before the product": (lambda: changed(by_hand(net()), linear_before_reset=0),
        r"'rnn0' \(GRU\).*reset_after"),
    "reverse": (lambda: changed(by_hand(net()), direction="reverse"), r"'rnn0' \(GRU\) runs reverse"),
    "both directions": (lambda: changed(by_hand(net("LSTM")), direction="bidirectional"),
        r"\(LSTM\) runs bidirectional"),
    "clip": (lambda: changed(by_hand(net()), clip=3.0), r"'rnn0' \(GRU\) clips"),
    "other activations": (lambda: changed(by_hand(net()), activations=["HardSigmoid", "Tanh"]),
        "activations HardSigmoid"),
    "coupled gates": (lambda: changed(by_hand(net("LSTM")), input_forget=1), "input_forget"),
    "peepholes": (lambda: fed(by_hand(net("LSTM")), 7, np.ones((1, 30), np.float32)), r"'rnn0' \(LSTM\) has peepholes"),
    "a first state": (lambda: fed(by_hand(net()), 5, np.ones((1, 1, 10), np.float32)), r"\(GRU\) begins with a state"),
    "a first c": (lambda: fed(by_hand(net("LSTM")), 6, np.ones((1, 1, 10), np.float32)), "initial_c"),
    "lengths": (lambda: fed(by_hand(net()), 4, np.ones(1, np.int32)), "sequence_lens"),
    "integer weights": (lambda: fed(by_hand(net()), 1, np.ones((1, 30, 6), np.int8)), "of the type int8"),
    "weights of another shape": (lambda: fed(by_hand(net()), 1, np.ones((1, 29, 6), np.float32)), "of the shapes"),
    "biases of another shape": (lambda: fed(by_hand(net()), 3, np.ones((1, 7), np.float32)), "has 7 biases, not 60"),
    "NaN": (lambda: fed(by_hand(net()), 1, np.full((1, 30, 6), np.nan, np.float32)), r"layer 0 \(rnn0\).*NaN"),
    "too large weights": (lambda: fed(by_hand(net()), 1, np.full((1, 30, 6), 99, np.float32)), "of magnitude 99"),
    "many layers": (lambda: by_hand(net(layers=33)), "33 layers before its classifier, tidegate runs 1 to 32"),
    "an op of no neural net": (lambda: before("Sin"), r"'front' \(Sin\)"),
    "x + x": (lambda: before("Add"), r"'front' \(Add\) combines two values that both depend"),
    "a function on features": (lambda: before("Relu"), r"'front' \(Relu\) has no linear layer before it"),
    "whole numbers": (lambda: before("Cast", to=7), r"'front' \(Cast\) turns features into whole numbers"),
    "no classifier": (lambda: behind(helper.make_node("Identity", ["s0"], ["y"])),
        "no linear layer behind a recurrent"),
    "two classifiers": (lambda: behind(
        helper.make_node("MatMul", ["s0", "V"], ["u"]), helper.make_node("Sum", ["u", "u"], ["y"], "both"),
        constants=[("W2", np.ones((10, 4), np.float32))]), r"'both' \(Sum\)"),
    "the first frame": (lambda: behind(
        helper.make_node("Gather", ["s0", "at"], ["e"], "first", axis=0), helper.make_node("MatMul", ["e", "V"], ["y"]),
        constants=[("at", np.array(0))]), r"'first' \(Gather\) takes frame 0"),
    "frames joined": (lambda: behind(
        helper.make_node("Reshape", ["s0", "to"], ["e"], "join"), helper.make_node("MatMul", ["e", "V"], ["y"]),
        constants=[("to", np.array([1, -1]))]), r"'join' \(Reshape\) joins or cuts frames"),
    "a few frames": (lambda: behind(
        helper.make_node("Slice", ["s0", "a", "b", "z"], ["e"], "cut"), helper.make_node("MatMul", ["e", "V"], ["y"]),
        constants=[("a", np.array([2])), ("b", np.array([5])), ("z", np.array([0]))]), r"'cut' \(Slice\) cuts 2:5"),
    "a sum over the batch": (lambda: behind(
        helper.make_node("ReduceMean", ["s0"], ["e"], "mean", axes=[1]), helper.make_node("MatMul", ["e", "V"], ["y"])),
        r"'mean' \(ReduceMean\) takes a mean that is not over the frames"),
    "the wrong layout": (lambda: changed(by_hand(net(layers=2)), layout=1),
        r"'squeeze0' \(Squeeze\)|\(GRU\) takes the axis"),
    "no such tensor": (lambda: behind(helper.make_node("MatMul", ["nowhere", "V"], ["y"], "lost")), "nothing makes"),
    "an image": (lambda: model_of([helper.make_node("Identity", ["x"], ["y"])], [], 6, rank=4), "has 4 axes"),
    "no text": (lambda: b"this is no protobuf", "not a readable ONNX file|has no output"),
    "nothing": (lambda: b"", "is empty"),
    "half of it": (lambda: by_hand(net())[:-400], "not a readable ONNX file|nothing makes|no output"),
}


@pytest.mark.parametrize("what", ONNX)
def test_what_the_engine_lacks_is_named(what, tmp_path):
    make, text = ONNX[what]
    (tmp_path / "n.onnx").write_bytes(make())
    refused(text, tmp_path / "n.onnx", out_file=tmp_path / "m.tidegate")
    assert not (tmp_path / "m.tidegate").exists()


STATES = {
    "an RNN": (lambda: net("RNN").state_dict(), "layer 0 has not the rows of a cell"),
    "no linear module": (lambda: net().rnn.state_dict(), "holds 1 recurrent and 0 linear modules"),
    "two recurrent modules": (lambda: {**net().state_dict(),
        **{f"b.{k}": v.clone() for k, v in net().rnn.state_dict().items()}},
                              "holds 2 recurrent and 1 linear modules"),
    "a convolution": (lambda: {**net().state_dict(),
        "conv.weight": torch.zeros(2, 2, 2)}, "also holds 'conv', which no core"),
    "whole numbers": (lambda: {**net().state_dict(),
        "steps": torch.zeros(2, dtype=torch.int64)}, "'steps' of the type int64"),
    "both directions": (lambda: {**net().state_dict(),
        "rnn.weight_hh_l0_reverse": torch.zeros(30, 10)}, "bidirectional"),
    "nothing": (dict, "holds no tensors"),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("what", STATES)
def test_state_dicts_that_are_no_chain(what, suffix, tmp_path):
    make, text = STATES[what]
    path = tmp_path / f"n{suffix}"
    (torch.save if suffix == ".pt" else save_file)(make(), path)
    refused(text, path, out_file=tmp_path / "m.tidegate")


def test_files_that_are_damaged_or_hold_programs(tmp_path):
    out = {"out_file": tmp_path / "m.tidegate"}
    for name in ("n.pt", "n.pth", "n.safetensors", "n.pt2"):
        (tmp_path / name).write_bytes(b"no such file" * 9)
        refused("is not a readable", tmp_path / name, **out)
    torch.save(net(), tmp_path / "module.pt")
    refused(r"save its state_dict\(\)", tmp_path / "module.pt", **out)
    torch.save([1, 2], tmp_path / "list.pt")
    refused("holds a list, not a state dict", tmp_path / "list.pt", **out)
    (tmp_path / "n.h5").write_bytes(b"x")
    refused("no importer reads 'n.h5'; give a file that ends in .onnx", tmp_path / "n.h5", **out)
    refused("no network file", tmp_path / "nowhere.onnx", **out)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_calibration_data_and_options_that_do_not_fit(tmp_path):
    path, data, out = tmp_path / "n.onnx", tmp_path / "d.npz", {"out_file": tmp_path / "m.tidegate"}
    path.write_bytes(by_hand(net()))
    x, y = np.random.default_rng(0).normal(size=(5, 8, 6)), np.zeros(5, int)
    cases = [
        ("no calibration data", dict(calibrate=data), {}),
        ("no x", dict(calibrate=data), dict(z=x)),
        (r"finite features \(frames, 6\)", dict(calibrate=data), dict(x=x[..., :5])),
        ("hold NaN or infinity", dict(calibrate=data), dict(x=x * np.nan)),
        ("4 targets for 5 sequences", dict(calibrate=data), dict(x=x, y=y[:4])),
        ("a target is 4, the network has the classes 0 to 3", dict(calibrate=data), dict(x=x, y=y + 4)),
        ("a target is one class number", dict(calibrate=data), dict(x=x, y=y + 0.5)),
        ("both say what Θ is", dict(calibrate=data, theta="1,2", fetch_reduction=3.0), dict(x=x)),
        ("--theta takes whole numbers", dict(calibrate=data, theta="1,two"), dict(x=x)),
        ("3 thresholds were given; the network needs 2", dict(calibrate=data, theta="1,2,3"), dict(x=x)),
        ("cannot be had", dict(calibrate=data, fetch_reduction=0.5), dict(x=x)),
        ("cannot be had", dict(calibrate=data, max_loss=-1.0), dict(x=x)),
        ("cannot be used without calibration data", dict(fetch_reduction=3.0), {}),
        ("4 classes need as many labels", dict(labels="yes,no"), {}),
        ("an answer is read in frames or last or mean", dict(calibrate=data, readout="first"), dict(x=x)),
        ("give --fetch-reduction", dict(epochs=2), {}),
        ("fine-tuning needs the right classes", dict(calibrate=data, epochs=2, fetch_reduction=3.0), dict(x=x)),
        ("no folder", dict(out_file=tmp_path / "nowhere" / "m.tidegate"), {}),
    ]
    for text, options, arrays in cases:
        data.unlink(missing_ok=True)
        if arrays:
            saved(data, **arrays)
        refused(text, path, **(out | options))
    np.savez(data, x=np.array([x, "text"], object))
    refused("holds objects of Python, .* save arrays of numbers", path, calibrate=data, **out)
    data.write_bytes(b"no archive")
    refused("is no .npy or .npz file, but holds text, which begins with 'no archive'", path, calibrate=data, **out)
    data.write_bytes(bytes(range(200)))
    refused("cannot read '[^']*'; give an .npy or .npz file", path, calibrate=data, **out)
    saved(data, x=x)
    data.write_bytes(data.read_bytes()[:-300])
    refused("cannot read", path, calibrate=data, **out)
    zipped(data)
    refused("holds a zip archive", path, calibrate=data, **out)
    torch.save(torch.zeros(3), data)
    refused("holds a checkpoint of torch.save", path, calibrate=data, **out)


def test_the_command_line(tmp_path):
    """A file that is refused is one line; one that is read gives a model; a missing package is one line."""
    path = tmp_path / "n.onnx"
    path.write_bytes(before("Sin"))
    fails(tidegate("import", path, "--out", tmp_path / "m.tidegate"), "'front' (Sin)")
    (tmp_path / "n.pt2").write_bytes(b"no program")        # torch would log a traceback
    fails(tidegate("import", tmp_path / "n.pt2", "--out", tmp_path / "m.tidegate"), "is not a readable program")
    path.write_bytes(by_hand(net()))
    x = np.random.default_rng(0).normal(size=(30, 8, 6)).cumsum(1)
    done = tidegate("import", path, "--calibrate", saved(tmp_path / "d.npz", x=x), "--out", tmp_path / "m.tidegate",
                    "--fetch-reduction", "2", "--labels", "a,b,c,d")
    assert done.returncode == 0, done.stderr
    assert "fetch reduction 2.0" in done.stdout and "wrote" in done.stdout
    model = read_model(tmp_path / "m.tidegate")
    assert model.labels == tuple("abcd") and model.card["conversion"]["point"]["fetch_reduction"] >= 2


def test_a_package_may_add_an_importer(tmp_path, monkeypatch):
    class Entry:
        name, value = ".h5", "made:read"

        def load(self):
            return lambda path: replace(chain, notes=(path.name,))

    (tmp_path / "n.onnx").write_bytes(by_hand(net()))
    chain = registry.read_network(tmp_path / "n.onnx")
    monkeypatch.setattr(registry, "entry_points", lambda group, name=".h5": [Entry()] if name == ".h5" else [])
    (tmp_path / "n.h5").write_bytes(b"x")
    assert registry.read_network(tmp_path / "n.h5").notes == ("n.h5",)
    assert ".h5" in registry.suffixes()
