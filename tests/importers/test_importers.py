"""Files of trained networks → the network that they hold, and models that agree with it within the reported bound."""

import numpy as np
import pytest
import torch
from made_networks import Net, by_hand, exported, float_logits, golden_logits, reference
from safetensors.torch import save_file

from tidegate.golden.convert import convert
from tidegate.importers.registry import read_network


def agree(path, net, x, readout):
    """Asserts that the file's network computes what ``net`` does, and its model too, within the reported bound."""
    chain = read_network(path)
    wanted = float_logits(net, x)
    assert np.abs(chain.run(x.transpose(1, 0, 2))[1].numpy().transpose(1, 0, 2) - wanted).max() < 1e-6
    assert chain.readout == readout
    made = convert(chain, calibration=x, warn=False)
    assert made.report.logit_bound < 0.1 * max(1, np.abs(wanted).max())
    assert np.abs(golden_logits(made.model, x) - wanted).max() <= made.report.logit_bound * 1.0001 + 1e-9


def drawn(seed, n=12, t=20, features=6):
    return np.random.default_rng(seed).normal(0, 1, (n, t, features)).astype(np.float32)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize(("layers", "options"), [
    (1, {}), (2, {"last": True}), (1, {"from_state": True, "batch_first": False}),
    (3, {"from_state": True}), (2, {"batch_first": False, "bias": False}), (1, {"last": True, "batch_first": False})])
def test_torch_exports_are_read(tmp_path, kind, layers, options):
    torch.manual_seed(layers)
    net = Net(kind, 6, 10, layers, 4, **options)
    for dynamic in (True, False):
        data = exported(net.float(), dynamic=dynamic)
        (tmp_path / "n.onnx").write_bytes(data)
        agree(tmp_path / "n.onnx", net, drawn(0), "last" if net.last or net.from_state else "frames")


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_hand_made_graphs_are_read(tmp_path, kind, layout, dtype):
    torch.manual_seed(layout)
    net = Net(kind, 6, 10, 1 + layout, 4, last=dtype == np.float32)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(p.half().float())
    data = by_hand(net, layout, dtype)
    (tmp_path / "n.onnx").write_bytes(data)
    agree(tmp_path / "n.onnx", net, drawn(1), "last" if net.last else "frames")
    if not layout and dtype == np.float32:
        x = drawn(2)
        said = reference(data, x.transpose(1, 0, 2))
        assert np.abs(said - float_logits(net, x)[:, -1]).max() < 1e-5


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".pt2"])
def test_state_dicts_and_programs_are_read(tmp_path, suffix):
    net, path = Net("LSTM", 6, 10, 2, 4), tmp_path / f"n{suffix}"
    if suffix == ".safetensors":
        save_file({name: t.contiguous() for name, t in net.state_dict().items()}, path)
    elif suffix == ".pt2":
        torch.export.save(torch.export.export(net, (torch.randn(2, 9, 6),)), path)
    else:
        torch.save(net.state_dict() if suffix == ".pt" else {"epoch": 3, "state_dict": net.state_dict()}, path)
    agree(path, net, drawn(3), "frames" if suffix == ".pt2" else None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_state_dicts_of_every_precision_are_read(tmp_path, dtype, suffix):
    net = Net("GRU", 6, 10, 1, 4).to(dtype)
    (torch.save if suffix == ".pt" else save_file)(net.state_dict(), tmp_path / f"n{suffix}")
    agree(tmp_path / f"n{suffix}", net, drawn(4), None)


def test_scales_linear_layers_and_functions_around_the_layers(tmp_path):
    """A normalisation and a projection in front are folded, a dense layer behind becomes one of the cell ``unit``."""
    torch.manual_seed(5)

    class Around(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.front, self.rnn = torch.nn.Linear(6, 5), torch.nn.GRU(5, 12, batch_first=True)
            self.dense, self.fc = torch.nn.Linear(12, 8), torch.nn.Linear(8, 4)
            self.register_buffer("mean", torch.randn(6))
            self.register_buffer("deviation", torch.rand(6) + 0.5)

        def forward(self, x):
            h = self.rnn(self.front((x - self.mean) / self.deviation))[0]
            return torch.log_softmax(self.fc(torch.relu(self.dense(h[:, -1]))), -1)

    net = Around().eval()
    (tmp_path / "n.onnx").write_bytes(exported(net, features=6))
    chain = read_network(tmp_path / "n.onnx")
    assert [layer.activation for layer in chain.layers] == ["", "relu"] and chain.readout == "last"
    assert any("folded" in note for note in chain.notes) and any("left out" in note for note in chain.notes)
    x = drawn(6)
    with torch.no_grad():
        wanted = net(torch.from_numpy(x)).numpy()
    got = torch.log_softmax(chain.run(x.transpose(1, 0, 2))[1][-1], -1).numpy()
    assert np.abs(got - wanted).max() < 1e-5
    made = convert(chain, calibration=x, warn=False)
    assert made.report.signals[-1].rounding_db > 20


@pytest.mark.slow
@pytest.mark.parametrize("number", range(30))
def test_random_networks_agree_within_the_reported_bound(tmp_path, number):
    rng = np.random.default_rng(number)
    torch.manual_seed(number)
    kind, features, hidden = ("GRU", "LSTM")[number % 2], int(rng.integers(4, 101)), int(rng.integers(4, 201))
    options = {"bias": bool(rng.integers(2)), "batch_first": bool(rng.integers(2)), "last": bool(rng.integers(2))}
    net = Net(kind, features, hidden, int(rng.integers(1, 5)), int(rng.integers(2, 21)), **options)
    dtype = (np.float16, np.float32, np.float64)[number % 3]
    if dtype == np.float16:
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(p.half().float())
    if number % 5 < 2:
        data = by_hand(net, number % 5, dtype)
    else:
        data = exported(net.double() if dtype == np.float64 else net)
    (tmp_path / "n.onnx").write_bytes(data)
    agree(tmp_path / "n.onnx", net, drawn(number, features=features), "last" if net.last else "frames")
