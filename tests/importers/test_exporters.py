"""Graphs as exporters write them: PyTorch's newer one (``dynamo=True``), and that of Keras (tf2onnx), made by hand."""

import warnings

import numpy as np
import onnx
import pytest
import torch
from made_networks import ORDER, Net, blocks, float_logits, model_of, reference
from onnx import helper, numpy_helper

from tidegate.importers.registry import read_network
from tidegate.spec.errors import ModelError


def dynamo(net, path, dynamic):
    """Writes a network with PyTorch's newer exporter."""
    pytest.importorskip("onnxscript", reason="onnxscript is not installed; pip install onnxscript")
    axes = ({0: torch.export.Dim("a", min=1), 1: torch.export.Dim("b", min=2)},) if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(net.eval(), (torch.randn(2, 9, 6),), dynamo=True, verbose=False,
                                    dynamic_shapes=axes)
        assert program is not None
        program.save(path)


def same(path, net, x, readout):
    """Asserts that the file's network computes what ``net`` does."""
    chain = read_network(path)
    got, wanted = chain.run(x.transpose(1, 0, 2))[1].numpy().transpose(1, 0, 2), float_logits(net, x)
    assert np.abs(got - wanted).max() < 1e-6 and chain.readout == readout


def drawn(n=3, t=11):
    return np.random.default_rng(0).normal(0, 1, (n, t, 6)).astype(np.float32)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("layers", "options"), [
    (2, {}), (1, {"last": True}), (2, {"from_state": True, "bias": False}), (1, {"batch_first": False, "last": True})])
def test_the_newer_exporter_of_pytorch(tmp_path, kind, dynamic, layers, options):
    torch.manual_seed(layers)
    net = Net(kind, 6, 10, layers, 4, **options)
    dynamo(net, tmp_path / "n.onnx", dynamic)
    same(tmp_path / "n.onnx", net, drawn(), "last" if net.last or net.from_state else "frames")


def test_a_layer_that_is_written_step_by_step_is_one_line(tmp_path):
    """The newer exporter has no node for torch.nn.RNN."""
    dynamo(Net("RNN", 6, 10, 1, 4), tmp_path / "n.onnx", False)
    with pytest.raises(ModelError, match=r"\(MatMul\) and 7 more nodes multiply by the same .* dynamo=False") as error:
        read_network(tmp_path / "n.onnx")
    assert "\n" not in str(error.value)


class Graph:
    """Nodes in the order of calls; an operation gives the name of its output."""

    def __init__(self):
        self.nodes, self.initializers = [], []

    def constant(self, array):
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def __call__(self, op, *inputs, outputs=1, **attributes):
        names = [f"{op.lower()}{len(self.nodes)}_{k}" for k in range(outputs)]
        given = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        self.nodes.append(helper.make_node(op, given, names, f"model/{names[0]}", **attributes))
        return names[0] if outputs == 1 else names

    def data(self, result):
        self.nodes.append(helper.make_node("Identity", [result], ["y"], "y"))
        return model_of(self.nodes, self.initializers, 6)


def keras_layers(g, net, sequences=True):
    """The recurrent layers as tf2onnx writes those of Keras: batches first outside, time first inside, a first state of
    zeros of the size of the batch.  Gives the last layer's output."""
    kind, state = type(net.rnn).__name__, {k: v.detach().numpy() for k, v in net.state_dict().items()}
    heard, order = "x", ORDER[kind]
    for l in range(net.rnn.num_layers):
        size = g("Slice", g("Cast", g("Shape", heard), to=onnx.TensorProto.INT64), np.array([0]), np.array([1]),
                 np.array([0]))
        zeros = g("Expand", np.zeros((1, 1, 1), np.float32), g("Concat", np.array([1]), size,
                                                               np.array([net.rnn.hidden_size]), axis=0))
        w, r = (blocks(state[f"rnn.weight_{s}_l{l}"], order)[None] for s in ("ih", "hh"))
        b = np.concatenate([blocks(state[f"rnn.bias_{s}_l{l}"], order) for s in ("ih", "hh")])[None]
        turned = g("Transpose", heard, perm=[1, 0, 2])
        more = {"linear_before_reset": 1} if kind == "GRU" else {}
        states = [zeros] if kind == "GRU" else [zeros, zeros]
        made, last, *_ = g(kind, turned, w, r, b, "", *states, outputs=len(states) + 1, direction="forward",
                           hidden_size=net.rnn.hidden_size, **more)
        if l == net.rnn.num_layers - 1 and not sequences:
            return g("Squeeze", last, np.array([0]))
        heard = g("Transpose", g("Squeeze", made, np.array([1])), perm=[1, 0, 2])
    return heard


def dense(g, net, heard):
    weight, bias = net.fc.weight.detach().numpy(), net.fc.bias.detach().numpy()
    return g("Add", g("MatMul", heard, np.ascontiguousarray(weight.T)), bias)


def tensordot(g, net, heard):
    """A dense layer of every frame, as Keras computes it: frames joined, multiplied, and taken apart again."""
    shape = g("Cast", g("Shape", heard), to=onnx.TensorProto.INT64)
    outer = g("Gather", shape, np.array([0, 1]), axis=0)
    count = g("ReduceProd", outer, keepdims=1, axes=[0])
    joined = g("Reshape", heard, g("Concat", count, np.array([net.rnn.hidden_size]), axis=0))
    product = g("MatMul", joined, np.ascontiguousarray(net.fc.weight.detach().numpy().T))
    apart = g("Reshape", product, g("Concat", outer, np.array([net.fc.out_features]), axis=0))
    return g("Add", apart, net.fc.bias.detach().numpy())


def last_frame(g, net, heard):
    """x[:, -1, :] of TensorFlow, a strided slice."""
    cut = g("Slice", heard, np.array([-1]), np.array([2**31 - 1]), np.array([1]))
    return g("Softmax", dense(g, net, g("Squeeze", cut, np.array([1]))), axis=-1)


def of_state(g, net, heard):
    return g("Softmax", dense(g, net, heard), axis=-1)


KERAS = {"a dense layer of every frame": (dense, True, "frames"), "a tensordot": (tensordot, True, "frames"),
         "the last frame": (last_frame, True, "last"), "the last state": (of_state, False, "last")}


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", KERAS)
def test_graphs_of_keras(tmp_path, kind, layers, name):
    torch.manual_seed(layers)
    net, g = Net(kind, 6, 10, layers, 4), Graph()
    behind, sequences, readout = KERAS[name]
    data = g.data(behind(g, net, keras_layers(g, net, sequences)))
    x = drawn()
    said, wanted = reference(data, x), float_logits(net, x)         # the graph is what it is taken for
    if readout == "last":
        wanted = torch.softmax(torch.from_numpy(wanted[:, -1]), -1).numpy()
    assert np.abs(said - wanted).max() < 1e-5
    (tmp_path / "n.onnx").write_bytes(data)
    same(tmp_path / "n.onnx", net, x, readout)


def test_frames_that_are_put_together_otherwise_are_refused(tmp_path):
    """Joined as (time, batch), taken apart as (batch, time): the rows then belong to other frames."""
    net, g = Net("GRU", 6, 10, 1, 4), Graph()
    heard = keras_layers(g, net)
    shape = g("Shape", heard)
    turned = g("Concat", g("Gather", shape, np.array([1]), axis=0), g("Gather", shape, np.array([0]), axis=0),
               np.array([10]), axis=0)
    (tmp_path / "n.onnx").write_bytes(g.data(dense(g, net, g("Reshape", heard, turned))))
    with pytest.raises(ModelError, match=r"\(Reshape\) takes the axis of batch for that of time"):
        read_network(tmp_path / "n.onnx")
