"""The memory of a Legendre Memory Unit."""

import numpy as np
import pytest

from tidegate.spec.lmu import FORMS, continuous, discrete


def run(a, b, u):
    m, states = np.zeros(len(b)), []
    for x in u:
        m = a @ m + b * x
        states.append(m)
    return np.array(states)


def test_matrices_are_those_of_the_paper():
    a, b = continuous(3, 10.0)
    assert np.allclose(a * 10, [[-1, -1, -1], [3, -3, -3], [-5, 5, -5]])
    assert np.allclose(b * 10, [1, -3, 5])


def test_a_held_input_is_the_continuous_system_sampled():
    a, b = continuous(6, 20.0)
    _, held_b = discrete(6, 20.0, "legendre")
    x, fine = np.zeros(6), 2000
    for _ in range(fine):                       # Euler's method over one frame, input 1
        x = x + (a @ x + b) / fine
    assert np.allclose(x, held_b, atol=2e-4)


@pytest.mark.parametrize("form", FORMS)
def test_it_remembers_the_past_by_legendre_polynomials(form):
    order, theta = 10, 40
    a, b = discrete(order, theta, form)
    u = np.sin(np.arange(300) / 9) + 0.5 * np.sin(np.arange(300) / 17)
    m = run(a, b, u)
    if form == "normal":
        m = m * np.sqrt(2 * np.arange(order) + 1)
    for delay in (0, 10, 25):
        polynomial = np.polynomial.legendre.Legendre
        decoder = [polynomial.basis(i)(2 * delay / theta - 1) for i in range(order)]
        # the hold delays by half a frame
        wanted = np.sin((np.arange(300) - delay + 0.5) / 9) + 0.5 * np.sin((np.arange(300) - delay + 0.5) / 17)
        assert np.abs(m @ decoder - wanted)[100:].max() < 0.05, delay


def test_a_form_is_one_of_those_that_there_are():
    with pytest.raises(ValueError, match="legendre or normal, not 'modal'"):
        discrete(4, 10.0, "modal")
