"""torch.nn.GRU → model: integers, behaviour, choice of scale, refusals."""

import warnings

import numpy as np
import pytest
import torch

from tidegate.golden import FloatDelta, Golden, from_torch
from tidegate.golden.convert import ConversionWarning
from tidegate.spec.errors import ModelError
from tidegate.spec.model import read_model, save_model


def pair(layers=1, bias=True, features=10, hidden=24, classes=6, **options):
    torch.manual_seed(layers)
    return torch.nn.GRU(features, hidden, layers, bias=bias, **options), torch.nn.Linear(hidden, classes, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_a_converted_gru_follows_the_float_gru(layers, bias, tmp_path):
    gru, linear = pair(layers, bias, batch_first=True)
    x = torch.randn(100, 4, 10).mul(256).round().clamp(-2047, 2047)
    model = from_torch(gru.state_dict(), linear.state_dict(), thresholds=[0] * (layers + 1))
    save_model(model, tmp_path / "m.tidegate")
    assert read_model(tmp_path / "m.tidegate").digest == model.digest
    golden = Golden(model)
    with torch.no_grad():
        expected, _ = FloatDelta(gru, linear)(x / 256)
    logits = torch.tensor(golden.run(x).logits) * 2.0**-golden.logit_frac
    assert (logits - expected).abs().max() < 0.01    # logits up to 0.6; an LSB of h is 0.004


def test_weights_and_biases_land_in_their_places():
    gru, linear = pair(features=3, hidden=4, classes=2)
    model = from_torch(gru.state_dict(), linear.state_dict(), [3, 9], ["a", "b"], {"kind": "x"}, np.full(3, 2.0),
                       np.full(3, 0.5), {"note": "y"})
    frac = model.network.layers[0].weight_frac
    t = gru.state_dict()
    assert np.array_equal(model.tensors["gru.0.weight_ih"], np.floor(t["weight_ih_l0"].numpy() * 2.0**frac + 0.5))
    assert np.array_equal(model.tensors["gru.0.weight_hh"], np.floor(t["weight_hh_l0"].numpy() * 2.0**frac + 0.5))
    (ir, iz, i_n), (hr, hz, hn) = (t[f"bias_{k}_l0"].numpy().astype(np.float64).reshape(3, 4) for k in ("ih", "hh"))
    expected = np.floor(np.stack([i_n, ir + hr, iz + hz, hn]) * 2.0 ** (8 + frac) + 0.5)
    assert np.array_equal(model.tensors["gru.0.bias"], expected)
    assert model.network.thresholds == (3, 9) and model.labels == ("a", "b")
    assert model.frontend == {"kind": "x"} and model.card == {"note": "y"}
    assert model.tensors["frontend.mean"].tolist() == [2] * 3 and model.tensors["frontend.scale"].tolist() == [0.5] * 3


@pytest.mark.parametrize(("largest", "frac"), [(0.2485, 9), (0.2495, 8), (0.9, 7), (1.9, 6), (31.85, 2)])
def test_the_largest_weight_sets_the_scale(largest, frac):
    gru, linear = pair(features=3, hidden=4)
    with torch.no_grad():
        gru.weight_hh_l0.mul_(0.1)[5, 2] = -largest
        gru.weight_ih_l0.mul_(0.1)
        gru.bias_ih_l0.zero_()
        gru.bias_hh_l0.zero_()
    assert from_torch(gru.state_dict(), linear.state_dict()).network.layers[0].weight_frac == frac


def test_a_large_bias_and_a_full_accumulator_coarsen_the_scale():
    gru, linear = pair(features=3, hidden=4)
    with torch.no_grad():
        for p in gru.parameters():
            p.mul_(0.01)
        gru.bias_hh_l0[9] = 3.0
    assert from_torch(gru.state_dict(), linear.state_dict()).network.layers[0].weight_frac == 7
    wide = torch.nn.GRU(80, 16)
    with torch.no_grad():
        wide.weight_ih_l0.fill_(0.15)
    model = from_torch(wide.state_dict(), torch.nn.Linear(16, 2).state_dict())
    assert model.network.layers[0].weight_frac == 8


def test_modules_are_as_their_state_dicts():
    gru, linear = pair(2)
    wanted = from_torch(gru.state_dict(), linear.state_dict())
    assert from_torch(gru, linear).digest == from_torch(torch.nn.ModuleList([gru, linear])).digest == wanted.digest
    with pytest.raises(ModelError, match="holds 1 recurrent and 2 linear modules"):
        from_torch(torch.nn.ModuleList([gru, linear, torch.nn.Linear(2, 2)]))
    with pytest.raises(ModelError, match="a classifier is missing"):
        from_torch(gru.state_dict())


@pytest.mark.parametrize("thresholds", [(1.5, 0), (1.0, 0), (True, 0), ("1", 0), (float("nan"), 0), (None, 0)])
def test_thresholds_are_whole(thresholds, tmp_path):
    with pytest.raises(ModelError, match="a threshold is a whole number"):
        from_torch(*pair(), thresholds=thresholds)
    for given in (np.array([3, 4]), torch.tensor([3, 4]), [np.uint8(3), torch.tensor(4)]):
        model = from_torch(*pair(), thresholds=given)
        save_model(model, tmp_path / "m.tidegate")
        assert read_model(tmp_path / "m.tidegate").digest == model.digest and model.network.thresholds == (3, 4)


@pytest.mark.parametrize("normalised", [False, True])
def test_calibration_data_give_the_normalisation(normalised):
    """Features far from ±8: as they are, most saturate; with calibration data the model follows the float network."""
    torch.manual_seed(0)
    gru, linear = pair(1)
    mean, deviation = torch.linspace(-40, 30, 10), torch.linspace(0.5, 20, 10)
    x = torch.randn(80, 4, 10) * deviation + mean
    if not normalised:
        with torch.no_grad():
            gru.weight_ih_l0.div_(deviation)
            gru.bias_ih_l0.sub_(gru.weight_ih_l0 @ mean)
    own = dict(mean=mean.numpy(), scale=1 / deviation.numpy()) if normalised else {}
    with torch.no_grad():
        expected, _ = FloatDelta(gru, linear)((x - mean) / deviation if normalised else x)
    model = from_torch(gru, linear, **own, calibration=x)
    golden = Golden(model)
    assert model.saturated(x.numpy()) < 1e-3
    logits = torch.tensor(golden.run(model.quantise(x.numpy())).logits) * 2.0**-golden.logit_frac
    assert (logits - expected).abs().max() < 0.02
    with pytest.warns(ConversionWarning, match=r"% of the calibration data lie beyond ±8 and saturate"):
        bad = from_torch(gru, linear, mean=np.zeros(10), scale=np.ones(10), calibration=x)
    assert bad.saturated(x.numpy()) > 0.4
    for frames in (x[..., :9], x * float("nan"), x[:0], "frames", [[1], [1, 2]]):
        with pytest.raises(ModelError, match="calibration data"):
            from_torch(gru, linear, calibration=frames)


def test_an_outlier_that_makes_all_weights_coarser_is_told_and_may_be_clipped():
    gru, linear = pair(features=20, hidden=24)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_torch(gru, linear).network.layers[0].weight_frac == 9
    with torch.no_grad():
        gru.weight_hh_l0[3, 4] = 4.0
    with pytest.warns(ConversionWarning, match="layer 0: 1 of 3168 weights reach 4 and take all from 9 to 4 fraction "
                                               r"bits, so that rounding loses .*%.*; clip=True loses .*%") as told:
        assert from_torch(gru, linear).network.layers[0].weight_frac == 4
    assert len(told) == 1
    model = from_torch(gru, linear, clip=True)
    assert model.network.layers[0].weight_frac == 5 and model.tensors["gru.0.weight_hh"].max() == 127
    with torch.no_grad():
        gru.weight_hh_l0[3, 4] = 0
        gru.bias_ih_l0[50] = 12
    with pytest.warns(ConversionWarning, match="layer 0: biases reach 12 and take the weights from 9 to 5"):
        from_torch(gru, linear)


def test_biases_that_balance_features_which_are_not_normalised_are_told_as_such():
    gru, linear = pair(features=20, hidden=24)
    with torch.no_grad():
        gru.bias_ih_l0[:] = -gru.weight_ih_l0 @ torch.full((20,), 40.0)       # as if learned on features about 40
        gru.weight_ih_l0[50] = 0.1                                          # and a gate that is always open
    x = 40 + 5 * torch.randn(30, 20, 20)
    with pytest.warns(ConversionWarning, match=r"biases reach .*; the network heard features whose mean is up to "
                                               r"8\.?\d* deviations away from 0.*train it on .features - mean"):
        from_torch(gru, linear, calibration=x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert from_torch(gru, linear, calibration=x).network.layers[0].weight_frac < 9


def state(gru, linear=None, **changes):
    linear = linear or torch.nn.Linear(24, 6)
    return {k: v for k, v in (gru.state_dict() | changes).items() if v is not None}, linear.state_dict()


def test_refusals():
    gru, _ = pair()
    cases = [
        (state(torch.nn.GRU(10, 24, bidirectional=True)), "bidirectional"),
        (state(torch.nn.GRU(10, 24, 33)), "1 to 32"),
        (state(torch.nn.RNN(10, 24)), "rows of a cell"),
        (state(torch.nn.LSTM(10, 24, proj_size=5)), "proj_size"),
        (({}, torch.nn.Linear(24, 6).state_dict()), "state_dict"),
        (state(gru, torch.nn.Linear(23, 6)), r"Linear\(24"),
        (state(gru, weight_hh_l0=gru.weight_hh_l0 * 1e4), "layer 0 has a weight"),
        (state(gru, weight_ih_l0=None), "layer 0"),
        (state(gru, bias_hh_l0=None), "layer 0 has bias_ih but not its twin"),
        (state(torch.nn.GRU(10, 24, 2), bias_hh_l1=None, bias_ih_l1=None), "some layers have biases"),
        (state(gru, bias_hh_l0=torch.zeros(5)), r"bias_hh_l0 has the shape \(5,\), not \(72,\)"),
        (state(gru, norm=torch.zeros(5)), "'norm' belongs to no"),
        ((gru.state_dict(), {"weight": torch.zeros(6, 24), "bias": torch.zeros(5)}), r"Linear\(24"),
        (state(gru, bias_hh_l0=torch.full((72,), float("inf"))), "layer 0 has a weight or bias that is NaN or inf"),
        (state(gru, weight_ih_l0=gru.weight_ih_l0 * float("nan")), "layer 0"),
    ]
    for arguments, text in cases:
        with pytest.raises(ModelError, match=text):
            from_torch(*arguments)
    with pytest.raises(ModelError, match="labels"):
        from_torch(*state(gru), labels=["a"])
    with pytest.raises(ModelError, match="row"):
        big = torch.nn.GRU(200, 24)
        from_torch(*state(big, weight_ih_l0=torch.full((72, 200), 31.5)))


def test_a_module_with_more_than_a_core_computes_is_refused():
    class Front(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.front, self.rnn, self.out = torch.nn.Conv1d(10, 10, 3), torch.nn.LSTM(10, 24), torch.nn.Linear(24, 6)

    with pytest.raises(ModelError, match="also holds front, which no core computes"):
        from_torch(Front())


@pytest.mark.parametrize("wrong", [3, "lstm.pt", {0: torch.zeros(2)}, {"weight_ih_l0": np.zeros((72, 10))},
                                   {"weight_ih_l0": torch.zeros(72, 10, device="meta")},
                                   {"weight_ih_l0": torch.zeros(72, 10, dtype=torch.complex64)}], ids=str)
def test_what_is_no_module_and_no_state_dict_is_refused(wrong):
    with pytest.raises(ModelError, match="state dicts"):
        from_torch(wrong, torch.nn.Linear(24, 6))


def test_a_tensor_is_quantised_as_an_array():
    gru, linear = pair()
    model, features = from_torch(gru, linear), torch.randn(5, 10)
    assert np.array_equal(model.quantise(features), model.quantise(features.numpy()))
