"""Float-tensor twins against spec/fixed.py and spec/activation.py: every value at small widths, every grid point."""

import numpy as np
import pytest
import torch

from tidegate.golden import fixed
from tidegate.spec import activation
from tidegate.spec import fixed as spec
from tidegate.spec.formats import BIAS_MAX, CANDIDATE_ARG, GATE_ARG

DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_and_saturation_equal_spec_for_all_12_bit_values(dtype):
    x = np.arange(-2048, 2048)
    floats = torch.tensor(x, dtype=dtype)
    for shift in range(13):
        assert np.array_equal(fixed.round_shift(floats, shift).numpy(), spec.round_shift(x, shift)), shift
    for bits in range(2, 13):
        assert np.array_equal(fixed.saturate(floats, bits).numpy(), spec.saturate(x, bits)), bits
    for int_bits in range(4):
        for frac in range(6):
            q = spec.Q(int_bits, frac)
            for of in range(frac, 12):
                assert np.array_equal(fixed.requantise(floats, of, q).numpy(), q.requantise(x, of)), (q, of)


def test_round_shift_is_exact_up_to_24_bits():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.integers(-(2**23), 2**23, 20000), [2**23 - 1, -(2**23)]])
    for shift in range(1, 17):
        got = fixed.round_shift(torch.tensor(x, dtype=torch.float32), shift)
        assert np.array_equal(got.numpy(), spec.round_shift(x, shift)), shift


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_activation_equals_table_at_all_grid_points(name, dtype):
    limit = {"sigmoid": GATE_ARG, "tanh": CANDIDATE_ARG}[name].max
    float_twin = {"sigmoid": fixed.sigmoid_, "tanh": fixed.tanh_}[name]
    table = getattr(activation, name)
    x = np.arange(-limit, limit + 1)
    expected = table(x)
    floats = torch.tensor(x, dtype=dtype)
    assert np.array_equal((float_twin(floats.clone()) * 256).numpy(), expected)
    # Vectorised kernels treat the tail of a tensor, and strided tensors, by other code.
    for length in [*range(1, 20), 31, 33, 63, 65]:
        got = torch.cat([float_twin(part.clone()) for part in floats.split(length)]) * 256
        assert np.array_equal(got.numpy(), expected), length
    strided = torch.zeros(len(x), 3, dtype=dtype)
    strided[:, 1] = floats
    float_twin(strided[:, 1])
    assert np.array_equal((strided[:, 1] * 256).numpy(), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_activation_saturates_beyond_its_argument_format(dtype):
    far = [-(2.0**20), -5000.0, -1024.0, 1024.0, 5000.0, 2.0**20]
    gate = [-(2.0**20), -5000.0, -512.0, 512.0, 5000.0, 2.0**20]
    assert (fixed.tanh_(torch.tensor(far, dtype=dtype)) * 256).tolist() == [-255.0] * 3 + [255.0] * 3
    assert (fixed.sigmoid_(torch.tensor(gate, dtype=dtype)) * 256).tolist() == [1.0] * 3 + [255.0] * 3


def test_quantisers_round_half_up_clip_and_pass_the_gradient_inside():
    w = torch.tensor([0.5, -0.5, 1.5, 126.5, 127.4, 127.5, -127.5, -127.6, 300.0]) / 128
    w.requires_grad_()
    got = fixed.quantise_weight(w, 7)
    assert got.tolist() == [1, 0, 2, 127, 127, 127, -127, -127, 127]
    got.sum().backward()
    assert w.grad.tolist() == [128, 128, 128, 128, 128, 0, 128, 0, 0]
    b = torch.tensor([0.5, BIAS_MAX, BIAS_MAX + 1, -BIAS_MAX - 9], dtype=torch.float64) / 2**15
    b.requires_grad_()
    got = fixed.quantise_bias(b, 7)
    assert got.tolist() == [1, BIAS_MAX, BIAS_MAX, -BIAS_MAX]
    got.sum().backward()
    assert b.grad.tolist() == [2**15, 2**15, 0, 0]
