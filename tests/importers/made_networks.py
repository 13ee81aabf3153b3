"""Trained-looking networks as PyTorch's exporter and as ``onnx.helper`` write them, and what they compute."""

import io
import warnings

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tidegate.golden import Golden

ORDER = {"GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2), "RNN": (0,)}      # of PyTorch's blocks, in ONNX's order


class Net(torch.nn.Module):
    """``last``: only the last frame is answered; by the output, or by h_n (``from_state``)."""

    def __init__(self, kind, features, hidden, layers, classes, bias=True, batch_first=True, last=False,
                 from_state=False):
        super().__init__()
        self.rnn = getattr(torch.nn, kind)(features, hidden, layers, bias=bias, batch_first=batch_first)
        self.fc = torch.nn.Linear(hidden, classes, bias=bias)
        self.batch_first, self.last, self.from_state = batch_first, last, from_state

    def forward(self, x):
        out, state = self.rnn(x)
        if self.from_state:
            return self.fc((state[0] if isinstance(state, tuple) else state)[-1])
        if self.last:
            out = out[:, -1] if self.batch_first else out[-1]
        return self.fc(out)


def exported(net, shape=(2, 9), dynamic=True, features=None, **options):
    """The bytes of torch's export of a network on inputs (*shape, features)."""
    buffer, x = io.BytesIO(), torch.randn(*shape, features or net.rnn.input_size, dtype=next(net.parameters()).dtype)
    more = {"dynamic_axes": {"x": {0: "a", 1: "b"}}} if dynamic else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), (x,), buffer, input_names=["x"], output_names=["y"], dynamo=False, **more,
                          **options)
    return buffer.getvalue()


def blocks(rows, order):
    return rows.reshape(len(order), -1, *rows.shape[1:])[list(order)].reshape(rows.shape)


def by_hand(net, layout=0, dtype=np.float32, matmul=False, **attributes):
    """An ONNX model of a ``Net`` written with onnx.helper; ``layout`` as of ONNX; ``matmul``: with Add, not Gemm."""
    kind, initializers, nodes = type(net.rnn).__name__, [], []

    def constant(name, array):
        initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    state = {k: v.detach().numpy().astype(dtype) for k, v in net.state_dict().items()}
    heard, order = "x", ORDER[kind]
    for l in range(net.rnn.num_layers):
        w, r = (constant(f"{n}{l}", blocks(state[f"rnn.weight_{s}_l{l}"], order)[None])
                for n, s in (("W", "ih"), ("R", "hh")))
        inputs = [heard, w, r]
        if net.rnn.bias:
            both = [blocks(state[f"rnn.bias_{s}_l{l}"], order) for s in ("ih", "hh")]
            inputs.append(constant(f"B{l}", np.concatenate(both)[None]))
        more = {"linear_before_reset": 1} if kind == "GRU" else {}
        nodes.append(helper.make_node(kind, inputs, [f"Y{l}", f"h{l}"], f"rnn{l}", hidden_size=net.rnn.hidden_size,
                                      layout=layout, **(more | attributes)))
        nodes.append(helper.make_node("Squeeze", [f"Y{l}", constant(f"axes{l}", np.array([2 if layout else 1]))],
                                      [f"s{l}"], f"squeeze{l}"))
        heard = f"s{l}"
    if matmul or not net.last:
        nodes.append(helper.make_node("MatMul", [heard, constant("V", state["fc.weight"].T)], ["v"], "out"))
        bias = state.get("fc.bias", np.zeros(len(state["fc.weight"]), dtype))
        nodes.append(helper.make_node("Add", [constant("c", bias), "v"], ["y"], "add"))
    else:
        nodes.append(helper.make_node("Gather", [heard, constant("end", np.array(-1))], ["e"], "gather", axis=layout))
        nodes.append(helper.make_node("Gemm", ["e", constant("V", state["fc.weight"]), *(
            [constant("c", state["fc.bias"])] if net.rnn.bias else [])], ["y"], "gemm", transB=1))
    return model_of(nodes, initializers, net.rnn.input_size, dtype)


def model_of(nodes, initializers, features, dtype=np.float32, outputs=("y",), rank=3, opset=17):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes, "made", [helper.make_tensor_value_info("x", kind, [*"abc"[: rank - 1], features])],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]).SerializeToString()


def reference(data, x):
    """What ONNX's own reference makes of inputs."""
    return ReferenceEvaluator(onnx.load_from_string(data)).run(None, {"x": x})[0]


def float_logits(net, x):
    """Logits (N, T, classes) of a ``Net`` in double for inputs (N, T, features)."""
    with torch.no_grad():
        out = net.rnn.double()(torch.as_tensor(x).double() if net.batch_first else
                               torch.as_tensor(x).double().transpose(0, 1))[0]
        out = net.fc.double()(out)
    return (out if net.batch_first else out.transpose(0, 1)).numpy()


def golden_logits(model, x):
    """Logits (N, T, classes) of the golden model for features (N, T, features)."""
    golden = Golden(model)
    logits = golden.run(model.quantise(np.asarray(x)).transpose(1, 0, 2)).logits
    return logits.transpose(1, 0, 2) * 2.0**-golden.logit_frac

