"""NIR: spiking models written and read again, graphs of others, what is refused, and a round trip through snnTorch."""

import contextlib
import io
import json
import warnings

import nir
import numpy as np
import pytest
import torch
from command import fails, tidegate
from spiking_graphs import DT, affine, euler, frames, graph_of, lif, network

from tidegate import load_model
from tidegate.commands.app import app
from tidegate.exporters.nir_file import ExportWarning, nir_graph, write_nir
from tidegate.golden import Golden
from tidegate.golden.convert import convert
from tidegate.golden.float_comparison import compare_float
from tidegate.importers.nir_file import chain_of_graph
from tidegate.importers.registry import read_network
from tidegate.spec.errors import ModelError, TidegateError
from tidegate.spec.model import save_model

NETWORKS = {"reset to 0": {}, "by subtraction": {"zero": False, "leak": 5}, "no leak": {"leak": 0},
            "no biases": {"bias": False}, "another threshold": {"theta": 300, "leak": 1},
            "features spike": {"features": True, "zero": False}, "hears itself": {"features": True, "recurrent": True},
            "itself behind values": {"recurrent": True}, "scaled features": {"features": True, "scale": True}}


def written(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExportWarning)
        write_nir(model, path)
    return path


def spikes(model, x):
    golden = Golden(model)
    trace = golden.run(model.quantise(x).transpose(1, 0, 2), keep_sent=True)
    return trace.sent, trace.logits * 2.0**-golden.logit_frac


@pytest.mark.parametrize("name", NETWORKS)
def test_a_model_that_is_written_and_read_again_spikes_the_same(name, tmp_path):
    x, model = frames(), convert(network(**NETWORKS[name]), warn=False).model
    again = convert(read_network(written(model, tmp_path / "n.nir")), warn=False).model
    (sent, logits), (sent_again, logits_again) = spikes(model, x), spikes(again, x)
    assert all(np.array_equal(a, b) for a, b in zip(sent, sent_again, strict=True))
    assert np.abs(logits - logits_again).max() < 1e-6
    assert again.network.rules == model.network.rules and again.network.thresholds == model.network.thresholds
    assert all(0.02 < (s != 0).mean() < 0.5 for s in sent[1:])


def test_the_shipped_spiking_model_comes_back_with_its_integers(tmp_path):
    model = load_model("mnist-lif")
    again = convert(read_network(written(model, tmp_path / "n.nir")), warn=False).model
    assert again.network == model.network
    assert all(np.array_equal(again.tensors[name], tensor) for name, tensor in model.tensors.items())


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_float_network_spikes_and_its_model(name):
    made = convert(network(**NETWORKS[name]), calibration=frames(40), warn=False)
    assert made.report is None and made.spikes is not None
    assert made.spikes.readout == "mean" and made.spikes.answers == 40 and made.spikes.agreement >= 0.85
    for rate, of_float, differ in zip(made.spikes.rates, made.spikes.float_rates, made.spikes.differ, strict=True):
        assert abs(rate - of_float) < 0.01 and differ < 0.12
    assert made.spikes.differ[0] < 0.02
    assert made.model.card["conversion"] == made.spikes.to_dict() and "of float" in made.spikes.text()


def test_thresholds_of_spikes_are_not_chosen():
    with pytest.raises(ModelError, match="thresholds of its own"):
        convert(network(), calibration=frames(), fetch_reduction=4)
    with pytest.raises(ModelError, match="spikes"):
        compare_float(convert(network(), warn=False).model, network(), frames())


def test_a_layer_that_hears_itself_needs_spikes():
    """Its sums begin anew in each frame, so changes of values would not do."""
    with pytest.raises(ModelError, match="hears its own spikes and values"):
        chain = network(recurrent=True)
        type(chain)((chain.layers[1],), chain.weight, chain.bias)


GRAPHS = {
    "LIF": lambda: graph_of(affine(20, 12), lif(20), affine(4, 20)),
    "two LIF": lambda: graph_of(affine(20, 12, scale=3), lif(20, 1), affine(20, 20, 1, 3), lif(20, 7),
                                affine(4, 20, 2)),
    "ends with neurons": lambda: graph_of(affine(20, 12), lif(20), affine(4, 20, scale=3), lif(4)),
    "IF": lambda: graph_of(affine(20, 12), nir.IF(np.ones(20), np.ones(20)), affine(4, 20)),
    "thresholds, resistances and rest potentials": lambda: graph_of(affine(20, 12), lif(
        20, v_threshold=np.linspace(0.5, 2, 20), r=np.linspace(4, 12, 20), v_leak=np.linspace(-0.3, 0.3, 20)),
        affine(4, 20), metadata={"dt": DT}),
    "a small threshold": lambda: graph_of(affine(20, 12), lif(20, threshold=0.02), affine(4, 20)),
    "linear layers in a row": lambda: graph_of(affine(15, 12), nir.Linear(affine(20, 15, 1).weight), lif(20),
                                               nir.Scale(np.linspace(-1, 1, 20)), affine(4, 20)),
    "spiking features": lambda: graph_of(nir.Scale(np.full(12, 0.7)), lif(12, 2), affine(20, 12), lif(20),
                                         affine(4, 20)),
    "a flattening": lambda: graph_of(nir.Flatten({"input": np.array([3, 4])}, 0, -1), affine(20, 12), lif(20),
                                     affine(4, 20)),
    "a current that is gone at once": lambda: graph_of(affine(20, 12), nir.CubaLIF(
        np.full(20, DT), np.full(20, 8 * DT), np.full(20, 8.0), np.zeros(20), np.ones(20), w_in=np.full(20, 0.8)),
        affine(4, 20), metadata={"dt": DT}),
    "one number for all": lambda: graph_of(affine(20, 12), nir.LIF(*(np.array([v]) for v in (
        8 * DT, 8.0, 0.0, 1.0))), affine(4, 20)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_compute_what_eulers_method_does(name, tmp_path):
    graph = GRAPHS[name]()
    nir.write(tmp_path / "n.nir", graph)
    chain = read_network(tmp_path / "n.nir")
    x = frames(1, 300)[0]
    heard = x if chain.features_scale is None else x * chain.features_scale
    got, wanted = chain.run(heard[:, None])[1][:, 0].numpy(), euler(graph, x)
    # a threshold is rounded to 1/256, so that a spike may come a frame earlier or later
    assert (np.abs(got - wanted) > 1e-5).any(1).mean() < 0.12 and wanted.any()
    assert np.abs(got.mean(0) - wanted.mean(0)).max() < 0.05
    made = convert(chain, calibration=frames(), warn=False)
    assert made.spikes is not None and max(made.spikes.differ) < 0.1


def test_a_graph_within_a_graph_is_a_layer_that_hears_itself():
    inner = nir.NIRGraph({"in": nir.Input({"input": np.array([20])}), "lif": lif(20), "w": nir.Linear(np.eye(20) / 4),
                          "out": nir.Output({"output": np.array([20])})},
                         [("in", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "out")], type_check=False)
    chain = chain_of_graph(graph_of(lif(12, 2), affine(20, 12), inner, affine(4, 20)))
    assert torch.equal(chain.layers[0].w_hh, torch.eye(20).double() / 4) and chain.features_firing is not None


def recurrent_behind_values():
    graph = graph_of(affine(20, 12), lif(20), affine(4, 20))
    graph.nodes["own"] = nir.Linear(np.eye(20))
    graph.edges += [("n1", "own"), ("own", "n1")]
    return graph


def skipping():
    graph = graph_of(affine(12, 12), lif(12), affine(12, 12), lif(12), affine(4, 12))
    graph.edges.append(("n1", "n4"))
    return graph


REFUSED = {
    "a leak of 0.1": (lambda: graph_of(affine(20, 12), lif(20, tau=np.full(20, 10 * DT), r=np.full(20, 10.0)),
                                       affine(4, 20)), r"'n1' \(LIF\) loses a share of 0.1 .* lose 1/2, 1/4"),
    "leaks that differ": (lambda: graph_of(affine(20, 12), lif(20, tau=np.linspace(2, 9, 20) * DT), affine(4, 20),
                                           metadata={"dt": DT}), r"'n1' \(LIF\) loses a share of 0.1111 to 0.5 "),
    "no memory": (lambda: graph_of(affine(20, 12), lif(20, 0), affine(4, 20)), r"'n1' \(LIF\) loses a share of 1 "),
    "a reset to -1": (lambda: graph_of(affine(20, 12), lif(20, v_reset=-np.ones(20)), affine(4, 20)),
                      r"'n1' \(LIF\) resets its potential to another value"),
    "a synapse": (lambda: graph_of(affine(20, 12), nir.CubaLIF(*(np.full(20, v) for v in (
        5 * DT, 8 * DT, 8.0, 0.0, 1.0))), affine(4, 20), metadata={"dt": DT}), r"'n1' \(CubaLIF\) has a synapse"),
    "a threshold of 0": (lambda: graph_of(affine(20, 12), lif(20, threshold=0.0), affine(4, 20)), "without an input"),
    "another metadata": (lambda: graph_of(affine(20, 12), lif(20, metadata={"reset": "none"}), affine(4, 20)),
                         "resets by 'none'"),
    "a convolution": (lambda: graph_of(nir.Conv1d(12, np.ones((1, 1, 3)), 1, 0, 1, 1, np.zeros(1)), affine(20, 12),
                                       lif(20), affine(4, 20)), r"'n0' \(Conv1d\) is nothing that the engine computes"),
    "an integrator": (lambda: graph_of(affine(20, 12), nir.LI(np.ones(20), np.ones(20), np.zeros(20)), affine(4, 20)),
                      r"'n1' \(LI\) is nothing"),
    "another width": (lambda: graph_of(affine(20, 11), lif(20), affine(4, 20)), r"'n0' \(Affine\) has weights of "),
    "neurons of another width": (lambda: graph_of(affine(20, 12), lif(19), affine(4, 20)), "parameters of 19 neurons"),
    "no neurons": (lambda: graph_of(affine(20, 12), affine(4, 20)), "no layer of neurons"),
    "many layers": (lambda: graph_of(*[n for _ in range(33) for n in (affine(12, 12), lif(12))], affine(4, 12)),
                    "1 to 32"),
    "NaN": (lambda: graph_of(nir.Affine(np.full((20, 12), np.nan), np.zeros(20)), lif(20), affine(4, 20)), "NaN"),
    "a flattening inside": (lambda: graph_of(affine(20, 12), lif(20), nir.Flatten({"input": np.array([20])}, 0, -1),
                                             affine(4, 20)), r"'n2' \(Flatten\)"),
    "a layer that hears values and itself": (recurrent_behind_values, r"layer 0 \(n1\) hears its own spikes"),
    "a skip": (skipping, r"'n1' \(LIF\) is heard by 2 nodes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_engine_has_not_is_one_line_that_names_the_node(name):
    make, text = REFUSED[name]
    with pytest.raises(ModelError, match=text) as error:
        chain_of_graph(make())
    assert "\n" not in str(error.value)


def test_damaged_files_are_one_line(tmp_path):
    path = written(convert(network(), warn=False).model, tmp_path / "n.nir")
    whole = path.read_bytes()
    for data in (b"", b"hello", whole[: len(whole) // 2]):
        (tmp_path / "d.nir").write_bytes(data)
        with pytest.raises(ModelError, match=r"not a readable NIR file|is empty") as error:
            read_network(tmp_path / "d.nir")
        assert "\n" not in str(error.value)


def test_what_nir_cannot_say(tmp_path):
    net, fc = torch.nn.GRU(6, 8), torch.nn.Linear(8, 2)
    with pytest.raises(ModelError, match=r"layer 0 \(GRU\) sends no spikes"):
        nir_graph(convert(net, fc, warn=False).model)
    model = convert(network(zero=False), warn=False).model
    with pytest.warns(ExportWarning, match="layer0, layer1 reset by subtraction"):
        graph = nir_graph(model)
    assert graph.nodes["layer0"].metadata == {"reset": "subtract"} and graph.metadata == {"dt": DT}
    with pytest.raises(ModelError, match="only Θ = step"):
        nir_graph(model.with_thresholds(0, 300, 256))
    spiking = convert(network(features=True), mean=np.ones(12), scale=np.ones(12), warn=False).model
    with pytest.raises(ModelError, match="takes a mean off"):
        nir_graph(spiking)


def test_the_verbs(tmp_path, capsys):
    model, x = convert(network(zero=False), warn=False).model, frames()
    save_model(model, tmp_path / "m.tidegate")
    done = tidegate("export", tmp_path / "m.tidegate", "--out", tmp_path / "m.nir")
    assert done.returncode == 0 and "layer1 (LIF)" in done.stdout and "a frame is 0.0001 s" in done.stdout
    assert done.stderr.startswith("warning: layer0, layer1 reset by subtraction") and done.stderr.count("\n") == 1
    np.savez(tmp_path / "c.npz", x=x)
    imported = ["import", str(tmp_path / "m.nir"), "--out", str(tmp_path / "b.tidegate")]
    app(imported, standalone_mode=False)
    assert "Θ of the network" in capsys.readouterr().out
    app([*imported, "-c", str(tmp_path / "c.npz")], standalone_mode=False)
    assert "spikes/frame" in (text := capsys.readouterr().out) and "wrote" in text
    app([*imported, "-c", str(tmp_path / "c.npz"), "--json"], standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    assert told["report"] is None and told["spikes"]["names"] == ["layer 0", "layer 1"]
    fails(tidegate("export", "digits", "--out", tmp_path / "d.nir"), "layer 0 (GRU) sends no spikes")
    for target, text in (("m.onnx", "end in .nir"), ("no/m.nir", "no folder")):
        with pytest.raises(TidegateError, match=text):
            app(["export", str(tmp_path / "m.tidegate"), "--out", str(tmp_path / target)], standalone_mode=False)


def run_torch(module, x):
    """(outputs, spikes of each LIF layer), (T, N, n), of snnTorch's module that is read from NIR."""
    import snntorch

    kept, outputs, state = {}, [], None
    for name, part in module.named_modules():
        if isinstance(part, snntorch.Leaky):
            part.register_forward_hook(lambda _, inputs, made, name=name: kept.setdefault(name, []).append(
                made[0] if isinstance(made, tuple) else made))
    with torch.no_grad():
        for now in torch.from_numpy(x).float().transpose(0, 1):
            made = module(now) if state is None else module(now, state)
            made, state = made if isinstance(made, tuple) else (made, None)
            outputs.append(made)
    return torch.stack(outputs).numpy(), {name: torch.stack(part).numpy() for name, part in kept.items()}


@pytest.mark.parametrize("leak", [1, 3, 5])
def test_snntorch_spikes_as_a_model_that_it_reads(leak, tmp_path):
    """The same weights in float32: what differs is the engine's leak, which rounds down, and the sum's 1/256."""
    pytest.importorskip("snntorch", reason="snntorch is not installed; pip install snntorch nirtorch")
    from snntorch.import_nir import import_from_nir

    x = frames()
    model = convert(network(leak=leak), warn=False).model
    sent, _ = spikes(model, x)
    with contextlib.redirect_stdout(io.StringIO()):
        module = import_from_nir(nir.read(written(model, tmp_path / "n.nir")))
    _, made = run_torch(module, x)
    differ = [float((made[f"layer{l}"] != sent[l + 1] / 256).mean()) for l in range(2)]
    print(f"leak 1/{1 << leak}: of all neurons and frames {differ[0]:.2%} and {differ[1]:.2%} differ in snnTorch")
    assert differ[0] < 0.01 and differ[1] < 0.05
    assert abs(made["layer1"].mean() - (sent[2] != 0).mean()) < 0.005


def test_a_network_of_snntorch_becomes_a_model(tmp_path):
    snntorch = pytest.importorskip("snntorch", reason="snntorch is not installed; pip install snntorch nirtorch")
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(12, 20), snntorch.Leaky(beta=0.875 * torch.ones(20), threshold=torch.ones(20), init_hidden=True,
                                                reset_mechanism="zero", reset_delay=False),
        torch.nn.Linear(20, 4), snntorch.Leaky(beta=0.75 * torch.ones(4), threshold=torch.ones(4), init_hidden=True,
                                               reset_mechanism="zero", reset_delay=False))
    with torch.no_grad():
        net[0].weight.mul_(3)
        net[2].weight.mul_(5)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)         # snnTorch's own call of nirtorch
        nir.write(tmp_path / "n.nir", export_to_nir(net, torch.randn(1, 12), ignore_dims=[0]))
    for part in net:
        if isinstance(part, snntorch.Leaky):
            part.reset_mem()
    x = frames()
    made = convert(read_network(tmp_path / "n.nir"), calibration=x, warn=False)
    assert [rule and (rule.leak, rule.zero) for rule in made.model.network.rules] == [None, (3, True), (2, True)]
    wanted, _ = run_torch(net, x)
    _, logits = spikes(made.model, x)
    differ = float((np.abs(logits - wanted) > 0.5).mean())
    print(f"snnTorch's output spikes that differ in the model: {differ:.2%}")
    assert differ < 0.03 and 0.02 < wanted.mean() < 0.5
