"""The layers that were read from a network are compared with it, and with what a core can run, before balancing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tidegate.golden import spike_norm as home
from tidegate.golden.module_graph import module_layers
from tidegate.golden.spike_norm import spike_norm
from tidegate.spec.errors import ModelError


def made(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 16), nn.ReLU(),
                         nn.Linear(16, 4)).eval()


def held() -> np.ndarray:
    """(sequences, frames, 12): each frame of a sequence the same."""
    return np.repeat(np.random.default_rng(1).random((4, 1, 12)).astype(np.float32), 20, 1)


def test_layers_that_were_misread_are_refused(monkeypatch):
    """Whatever the reader does not see: the layers must compute what the network does."""
    def misread(module, shape):
        *layers, last = module_layers(module, shape)
        return (*layers, replace(last, bias=last.bias + torch.tensor([0, 0, 0, 0.1])))
    monkeypatch.setattr(home, "module_layers", misread)
    with pytest.raises(ModelError, match=r"layers that were read differ from the network by 0.1") as error:
        spike_norm(made(), held())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("batch, dtype, training", [
    (1, torch.float32, False), (4, torch.float32, False), (3, torch.float16, True), (1, torch.bfloat16, False)])
def test_programs_of_a_fixed_batch_in_training_or_of_narrow_floats(batch, dtype, training):
    module = made().to(dtype).train(training)
    program = torch.export.export(module, (torch.zeros(batch, 12, dtype=dtype),))
    one, other = (spike_norm(given, held()).model for given in (module, program))
    assert module.training == training and next(module.parameters()).dtype == dtype
    assert all(np.array_equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())


def test_a_network_that_computes_something_else_than_its_graph():
    class Moody(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = made(0), made(1)

        def forward(self, x):
            return self.one(x) if torch.compiler.is_exporting() else self.other(x)

    with pytest.raises(ModelError, match="differ from the network"):
        spike_norm(Moody(), held())


def test_networks_that_a_core_cannot_run_are_refused_before_balancing(monkeypatch):
    """Also where the check by names has missed something."""
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.aside, self.last = nn.Linear(12, 8), nn.Linear(12, 8), nn.Linear(8, 4)

        def forward(self, x):
            self.aside(x).relu()
            return self.last(self.first(x).relu())

    def never(*_):
        raise AssertionError("balances")
    for text in ("nothing hears the layer 'aside'", "nothing hears signal 1"):
        with pytest.raises(ModelError, match=text):
            spike_norm(Aside(), held(), progress=never)
        monkeypatch.setattr("tidegate.golden.module_graph.check_connections", lambda layers: None)


def test_logits_in_a_tuple_or_by_name():
    class Told(nn.Module):
        def __init__(self, tell):
            super().__init__()
            self.network, self.tell = made(), tell

        def forward(self, x):
            return self.tell(self.network(x))

    for tell in (lambda y: (y,), lambda y: {"logits": y}):
        assert spike_norm(Told(tell), held()).model.digest == spike_norm(made(), held()).model.digest
