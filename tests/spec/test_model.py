"""The model file: round trip, digest, proof of the accumulators, and every way in which it can be bad."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tidegate.spec.cells import UNIT
from tidegate.spec.errors import ModelError, TidegateError
from tidegate.spec.formats import THETA_MAX
from tidegate.spec.layer import Layer
from tidegate.spec.model import Model, accumulator_bounds, expected_tensors, read_model, save_model
from tidegate.spec.network import Network
from tidegate.spec.rules import Diffuse


def changed(model, name, tensor):
    return replace(model, tensors=model.tensors | {name: tensor})


def test_round_trip_and_digest(model_factory, tmp_path):
    model = model_factory(1, 5, [7, 3], 4)
    save_model(model, tmp_path / "m.tidegate")
    again = read_model(tmp_path / "m.tidegate")
    assert (again.network, again.labels, again.frontend, again.card) == (
        model.network, model.labels, model.frontend, model.card)
    assert all(np.array_equal(again.tensors[k], v) and again.tensors[k].dtype == v.dtype
               for k, v in model.tensors.items())
    assert again.digest == model.digest == replace(model, card={}).digest
    other = model.tensors["gru.1.bias"].copy()
    other[3, 2] ^= 1
    digests = {model.digest, changed(model, "gru.1.bias", other).digest, model.with_thresholds(0, 1, 0).digest,
               replace(model, labels=tuple("abcd")).digest, replace(model, frontend={}).digest}
    assert len(digests) == 5


def test_quantise_normalises_rounds_half_up_and_saturates(model_factory):
    model = model_factory(1, 3, [2], 2)
    model = changed(model, "frontend.mean", np.array([1, 2, 0], np.float32))
    model = changed(model, "frontend.scale", np.array([1, 0.5, 100], np.float32))
    got = model.quantise(np.array([[1 + 0.5 / 256, 2 - 1 / 256, 1], [1, 4, -1]], np.float32))
    assert got.tolist() == [[1, 0, 2047], [0, 256, -2047]] and got.dtype == np.int16


def test_bounds_are_reached_by_the_worst_input(model_factory):
    model = model_factory(2, 6, [5, 4], 3)
    t = {k: v.astype(np.int64) for k, v in model.tensors.items()}
    bounds = accumulator_bounds(model)
    for l, size, reach in ((0, 5, (2047, 255)), (1, 4, (255, 255))):
        for gate, row in (("r", 0), ("z", size), ("n", 2 * size)):
            for j in range(size):
                w_x, w_h = t[f"gru.{l}.weight_ih"][row + j], t[f"gru.{l}.weight_hh"][row + j]
                b = {"r": 1, "z": 2}.get(gate)
                # The worst anchors: the sign of every weight, on the side of the bias.
                x, h = int(np.abs(w_x) @ np.full(len(w_x), reach[0])), int(np.abs(w_h) @ np.full(size, reach[1]))
                if b:
                    assert bounds[f"gru.{l}.{gate}"][j] == abs(t[f"gru.{l}.bias"][b, j]) + x + h
                else:
                    assert bounds[f"gru.{l}.nx"][j] == abs(t[f"gru.{l}.bias"][0, j]) + x
                    assert bounds[f"gru.{l}.nh"][j] == abs(t[f"gru.{l}.bias"][3, j]) + h
    assert bounds["classifier"].tolist() == (
        np.abs(t["classifier.weight"]).sum(1) * 255 + np.abs(t["classifier.bias"])).tolist()


def test_an_accumulator_that_could_wrap_is_named(model_factory):
    model = model_factory(3, 40, [4], 3, low=-1)
    tensors = model.tensors
    limit = (1 << 23) - 1
    row = tensors["gru.0.weight_ih"].copy()
    row[8 + 2] = 0
    row[8 + 2, :32], row[8 + 2, 32], row[8 + 2, 33] = 127, 33, 0    # nx of neuron 2: 4097 · 2047 = 2**23 - 2049
    bias = tensors["gru.0.bias"].copy()
    bias[0, 2] = limit - 4097 * 2047
    fits = replace(model, tensors=tensors | {"gru.0.weight_ih": row, "gru.0.bias": bias})
    assert accumulator_bounds(fits)["gru.0.nx"][2] == limit
    more = bias.copy()
    more[0, 2] += 1
    with pytest.raises(ModelError, match=r"gru\.0\.nx row 2: the accumulator can reach 8388608"):
        changed(fits, "gru.0.bias", more)
    more[0, 2] = -bias[0, 2] - 1
    with pytest.raises(ModelError, match=r"gru\.0\.nx row 2"):
        changed(fits, "gru.0.bias", more)


def test_a_bias_that_cannot_be_loaded_is_refused(model_factory):
    model = model_factory(1, 3, [2], 4)
    bias = model.tensors["classifier.bias"].copy()
    bias[3] = -127 * 1024 - 1
    with pytest.raises(ModelError, match=r"classifier\.bias row 3"):
        changed(model, "classifier.bias", bias)


@pytest.mark.parametrize(("name", "change", "text"), [
    ("gru.0.weight_hh", lambda t: t[:, :-1], "network needs"),
    ("gru.0.weight_ih", lambda t: t.astype(np.int32), "network needs"),
    ("gru.0.bias", lambda t: t.astype(np.int64), "network needs"),
    ("frontend.mean", lambda t: t[None], "network needs"),
    ("classifier.weight", None, "lacks the tensor"),
])
def test_wrong_tensors(name, change, text, model_factory):
    model = model_factory(1, 3, [2], 4)
    tensors = dict(model.tensors)
    tensor = tensors.pop(name)
    if change:
        tensors[name] = change(tensor)
    with pytest.raises(ModelError, match=text):
        Model(model.network, tensors, model.labels)


@pytest.mark.parametrize(("name", "value"), [
    ("mean", np.nan), ("mean", np.inf), ("mean", -np.inf), ("scale", np.nan), ("scale", np.inf), ("scale", 0),
    ("scale", -0.5)])
def test_a_normalisation_that_is_none_is_refused(name, value, model_factory, tmp_path):
    model = model_factory(1, 3, [2], 4)
    tensor = model.tensors[f"frontend.{name}"].copy()
    tensor[1] = value
    with pytest.raises(ModelError, match=rf"'frontend.{name}' is .* for feature 1.*train it again"):
        changed(model, f"frontend.{name}", tensor)
    save_model(model, tmp_path / "m.tidegate")
    with safe_open(tmp_path / "m.tidegate", "numpy") as file:
        metadata = file.metadata()
    save_file(load_file(tmp_path / "m.tidegate") | {f"frontend.{name}": tensor}, tmp_path / "m.tidegate", metadata)
    with pytest.raises(ModelError, match="for feature 1") as error:
        read_model(tmp_path / "m.tidegate")
    assert "\n" not in str(error.value)


FRONTEND = {"sample_rate": 16000, "window_ms": 32.0, "hop_ms": 16, "bands": 3, "low_hz": 60.0, "high_hz": 7600.0,
            "preemphasis": 0.97, "floor": 1e-3}


@pytest.mark.parametrize("bad", [
    {"bands": 20.0}, {"bands": True}, {"bands": "20"}, {"bands": 2}, {"bands": None}, {"sample_rate": 16000.5},
    {"sample_rate": float("inf")}, {"sample_rate": 0}, {"sample_rate": -16000}, {"sample_rate": 10**400},
    {"low_hz": 7600.0}, {"low_hz": -1}, {"high_hz": 8001}, {"window_ms": 0.1}, {"hop_ms": 0}, {"hop_ms": float("nan")},
    {"floor": 0}, {"floor": -1.0}, {"preemphasis": 1.5}, {"preemphasis": [0]}, {"floor": float("nan")},
], ids=str)
def test_a_front_end_that_is_none_is_refused(bad, model_factory):
    model = replace(model_factory(1, 3, [2], 4), frontend=FRONTEND)
    assert replace(model, frontend=FRONTEND | {"other": None}).frontend["other"] is None
    with pytest.raises(ModelError, match="front-end settings") as error:
        replace(model, frontend=FRONTEND | bad)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def described(model, path, change):
    """Save the model with its description, as JSON text, changed."""
    save_model(model, path)
    with safe_open(path, "numpy") as file:
        text = file.metadata()["tidegate"]
    save_file(load_file(path), path, {"tidegate": change(text)})


@pytest.mark.parametrize(("old", "new"), [
    ('"thresholds": [0, 0]', '"thresholds": [0, Infinity]'), ('"thresholds": [0, 0]', '"thresholds": [0, 1.5]'),
    ('"thresholds": [0, 0]', '"thresholds": [NaN, 0]'), ('"thresholds": [0, 0]', '"thresholds": [true, 0]'),
    ('"thresholds": [0, 0]', f'"thresholds": [0, {"9" * 40}]'), ('"features": 3', '"features": 3.0'),
    ('"features": 3', '"features": 1e999'), ('"size": 2', '"size": "2"'), ('"weight_frac": 7', '"weight_frac": 7.5'),
    ('"bands": 3', '"bands": 3.0'), ('"low_hz": 60.0', '"low_hz": 9e3'), ('"floor": 0.001', '"floor": Infinity'),
    (r'"note": "\u00e9"', f'"note": {"[" * 100_000}'),
])
def test_a_description_with_impossible_numbers_is_refused(old, new, model_factory, tmp_path):
    model = replace(model_factory(1, 3, [2], 4), frontend=FRONTEND)
    described(model, tmp_path / "m.tidegate", lambda text: text)
    assert read_model(tmp_path / "m.tidegate").digest == model.digest

    def change(text):
        assert old in text
        return text.replace(old, new)

    described(model, tmp_path / "m.tidegate", change)
    with pytest.raises(ModelError) as error:
        read_model(tmp_path / "m.tidegate")
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("bytes_flipped", [1, 1000])
def test_a_file_whose_weights_changed_is_damaged(bytes_flipped, model_factory, tmp_path):
    model = model_factory(1, 40, [30], 4)
    save_model(model, tmp_path / "m.tidegate")
    tensors = load_file(tmp_path / "m.tidegate")
    tensors["gru.0.weight_hh"].reshape(-1)[:bytes_flipped] ^= 1
    with safe_open(tmp_path / "m.tidegate", "numpy") as file:
        metadata = file.metadata()
    save_file(tensors, tmp_path / "m.tidegate", metadata)
    with pytest.raises(ModelError, match="is damaged: its content is not what was saved; copy it again"):
        read_model(tmp_path / "m.tidegate")
    old = json.loads(metadata["tidegate"])
    del old["digest"]                           # a file of a former version has none
    save_file(tensors, tmp_path / "m.tidegate", {"tidegate": json.dumps(old)})
    assert read_model(tmp_path / "m.tidegate").digest != model.digest


def test_tensors_of_others_are_not_the_models(model_factory, tmp_path):
    model = model_factory(1, 3, [2], 4)
    more = replace(model, tensors=model.tensors | {"other": np.zeros(3)})
    save_model(more, tmp_path / "m.tidegate")
    assert read_model(tmp_path / "m.tidegate").digest == more.digest == model.digest


def test_features_that_are_no_numbers_are_not_quantised(model_factory):
    model = model_factory(1, 3, [2], 4)
    for value in (np.nan, np.inf):
        with pytest.raises(TidegateError, match="the features hold NaN or infinity"):
            model.quantise(np.array([[1, 2, value]], np.float32))
    assert model.quantise(np.full((1, 3), 3e38, np.float32)).tolist() == [[2047] * 3]
    assert model.saturated(np.array([[3e38, 0, 0]], np.float32)) == pytest.approx(1 / 3) and model.saturated(
        np.zeros((0, 3))) == 0


def test_a_tensor_of_a_type_that_numpy_lacks_is_no_model(tmp_path):
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "m.tidegate").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ModelError, match="not a") as error:
        read_model(tmp_path / "m.tidegate")
    assert "\n" not in str(error.value)


def test_labels_must_match(model_factory):
    with pytest.raises(ModelError, match="4 classes need as many labels, not 1"):
        replace(model_factory(1, 3, [2], 4), labels=("a",))


def test_bad_files_are_one_line_errors(model_factory, tmp_path):
    path = tmp_path / "m.tidegate"
    with pytest.raises(ModelError, match="no model file"):
        read_model(path)
    save_model(model_factory(1, 3, [2], 4), path)
    data = path.read_bytes()
    tensors = load_file(path)
    for length in {0, 4, 8, 100, len(data) // 2, len(data) - 1}:
        path.write_bytes(data[:length])
        with pytest.raises(ModelError, match="not a readable model file"):
            read_model(path)
    path.write_bytes(b"\xff" * 300)
    with pytest.raises(ModelError, match="not a readable model file"):
        read_model(path)
    for metadata, text in (
        (None, "not a tidegate model"),
        ({"tidegate": "{"}, "not a tidegate model"),
        ({"tidegate": "[]"}, "not a tidegate model"),
        ({"tidegate": '{"version": 99}'}, "format version 99"),
        ({"tidegate": '{"version": 1, "network": {}}'}, "not a tidegate model"),
    ):
        save_file(tensors, path, metadata)
        with pytest.raises(ModelError, match=text) as error:
            read_model(path)
        assert "\n" not in str(error.value)


def narrowed(model, bits=4):
    """The model with weights within ±7, described as ``bits`` wide (the classifier stays at 8)."""
    net = model.network
    tensors = {name: np.clip(t, -7, 7) if "weight_" in name else t for name, t in model.tensors.items()}
    return replace(model, tensors=tensors,
                   network=replace(net, layers=tuple(replace(layer, weight_bits=bits) for layer in net.layers)))


@pytest.mark.parametrize("features", [1, 4, 5])
def test_narrow_weights_are_narrow_in_the_file_and_the_same_when_read(features, model_factory, tmp_path):
    model = narrowed(model_factory(1, features, [7, 3], 4))
    assert model.network.weight_bytes == -(-(21 * (features + 7) + 9 * 10) // 2) + 12
    save_model(model, tmp_path / "m.tidegate")
    stored = load_file(tmp_path / "m.tidegate")
    assert stored["gru.0.weight_ih"].shape == (21, (features + 1) // 2) and stored["classifier.weight"].dtype == np.int8
    again = read_model(tmp_path / "m.tidegate")
    assert again.network == model.network and again.digest == model.digest
    assert all(np.array_equal(again.tensors[k], v) for k, v in model.tensors.items())


def test_weights_that_are_too_wide_or_cut_short_are_refused(model_factory, tmp_path):
    model = narrowed(model_factory(1, 5, [7, 3], 4))
    wide = model.tensors["gru.0.weight_hh"].copy()
    wide[3, 3] = -8
    with pytest.raises(ModelError, match="beyond the ±7 of 4 bits"):
        changed(model, "gru.0.weight_hh", wide)
    with pytest.raises(ModelError, match="weight_bits must be 4 or 8"):
        narrowed(model, 3)
    save_model(model, tmp_path / "m.tidegate")
    tensors = load_file(tmp_path / "m.tidegate")
    with safe_open(tmp_path / "m.tidegate", "numpy") as file:
        metadata = file.metadata()
    tensors["gru.0.weight_ih"] = tensors["gru.0.weight_ih"][:, :-1].copy()
    save_file(tensors, tmp_path / "m.tidegate", metadata)
    with pytest.raises(ModelError, match="not a tidegate model"):
        read_model(tmp_path / "m.tidegate")


def test_files_without_narrow_weights_are_read_by_older_versions(model_factory, tmp_path):
    for model, version in ((model_factory(1, 5, [7], 4), 1), (narrowed(model_factory(1, 5, [7], 4)), 2)):
        save_model(model, tmp_path / "m.tidegate")
        with safe_open(tmp_path / "m.tidegate", "numpy") as file:
            assert json.loads(file.metadata()["tidegate"])["version"] == version


def test_turned_rounds_half_up_and_saturates(model_factory):
    model = model_factory(1, 5, [7, 3], 4).with_thresholds(5, 3, 0)
    assert model.turned(0.5).network.thresholds == (3, 2, 0) and model.turned(0).network.thresholds == (0, 0, 0)
    assert model.turned(1000).network.thresholds == (THETA_MAX, 3000, 0)


SPIKING = Network(3, (Layer(4, cell=UNIT, activation="identity", recurrent=False, consumes=True, bias_columns=2,
                            hears=(0, 2)), Layer(2, cell=UNIT, activation="tanh", consumes=True)),
                  Layer(2, consumes=True, bias_columns=1), (0, 256, 9), (None, Diffuse(256, -1, 2), Diffuse(8, leak=3)))


def spiking(**tensors) -> Model:
    """A model whose every weight is 1 or -1, with some tensors replaced."""
    rng = np.random.default_rng(7)
    made = {name: rng.choice([-1, 1], shape).astype(dtype) if dtype == np.int8 else np.ones(shape, dtype) * (
        0 if name == "unit.1.bias" else 1024) for name, (dtype, shape) in expected_tensors(SPIKING).items()}
    return Model(SPIKING, made | {name.replace("_bias", ".bias"): t for name, t in tensors.items()}, ("a", "b"))


def test_networks_that_are_no_plain_chain_are_written_and_read(tmp_path):
    model = spiking()
    assert {name: tensor.shape for name, tensor in model.tensors.items() if name.startswith("unit")} == {
        "unit.0.weight_ih": (4, 3 + 2), "unit.0.bias": (1, 4),
        "unit.1.weight_ih": (2, 4), "unit.1.weight_hh": (2, 2), "unit.1.bias": (1, 2)}
    save_model(model, tmp_path / "m.tidegate")
    with safe_open(tmp_path / "m.tidegate", "numpy") as file:
        assert json.loads(file.metadata()["tidegate"])["version"] == 4
    again = read_model(tmp_path / "m.tidegate")
    assert again.network == SPIKING and again.digest == model.digest
    assert all(np.array_equal(again.tensors[k], v) for k, v in model.tensors.items())
    # the digest tells every choice apart
    others = [replace(SPIKING, rules=()), replace(SPIKING, rules=(*SPIKING.rules[:2], Diffuse(8, leak=3, zero=True))),
              replace(SPIKING, classifier=replace(SPIKING.classifier, bias_columns=2)),
              replace(SPIKING, layers=(replace(SPIKING.layers[0], activation="relu"), SPIKING.layers[1]))]
    assert len({model.digest, *(replace(model, network=net).digest for net in others)}) == 5


def test_bounds_of_sums_that_are_consumed():
    """|b| and, for each weight, the most that one step can bring: a spike, or one Δ of a signal that holds."""
    bounds = {name: bound.tolist() for name, bound in accumulator_bounds(spiking()).items()}
    assert bounds == {"unit.0.m": [1024 + 3 * 2047 + 2 * 8] * 4, "unit.1.m": [4 * 512 + 2 * 8] * 2,
                      "classifier": [1024 + 2 * 8] * 2}


@pytest.mark.parametrize(("tensors", "text"), [
    # what one bias column of three can hold, two, and none
    (dict(classifier_bias=np.array([1024, 32], np.int32)), "classifier.bias holds 32, which is not a multiple of 1024"),
    ({"unit.0_bias": np.array([[32, 64, -96, 31]], np.int32)}, "unit.0.bias holds 31, which is not a multiple of 32"),
    ({"unit.1_bias": np.array([[0, 1024]], np.int32)}, "unit.1.bias holds 1024, which is not 0; give the layer more"),
], ids=str)
def test_biases_must_fit_the_columns_that_are_added_again(tensors, text):
    with pytest.raises(ModelError, match=text) as error:
        spiking(**tensors)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("old", "new"), [
    ('"rule": "diffuse"', '"rule": "other"'), ('"step": 256', '"step": 255'), ('"step": 256', '"step": 256.0'),
    ('"lowest": -1', '"lowest": 1'), ('"zero": false', '"zero": 0'), ('"leak": 3', '"leak": 8'),
    ('"leak": 3', '"leek": 3'), ('"hears": [0, 2]', '"hears": [2, 0]'), ('"hears": [0, 2]', '"hears": 2'),
    ('"hears": [0, 2]', '"hears": [0, 9]'), ('"consumes": true', '"consumes": 1'),
    ('"activation": "tanh"', '"activation": "tan"'), ('"bias_columns": 2', '"bias_columns": 4'),
    ('"recurrent": false', '"recurrent": true'), ('"rules": [null', '"rules": [3'), ('"rules": [null, ', '"rules": ['),
])
def test_a_description_of_no_network_is_refused(old, new, tmp_path):
    def change(text):
        assert old in text
        return text.replace(old, new, 1)

    described(spiking(), tmp_path / "m.tidegate", change)
    with pytest.raises(ModelError) as error:
        read_model(tmp_path / "m.tidegate")
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
