"""The matrices of a Legendre Memory Unit (Voelker, Kajić, Eliasmith 2019): a linear memory of the last θ frames.

    m ← Ā·m + B̄·u        A[i, j] = (2i + 1)/θ · (−1 if i < j else (−1)^(i − j + 1))        B[i] = (2i + 1)/θ · (−1)^i

Ā, B̄ are A, B held over a frame (zero-order hold).  The memory may be written in other coordinates m' = T·m, which
remember the same but round differently on int8 weights:

    legendre   m as in the paper: rows grow with i.
    normal     m'[i] = m[i] / √(2i + 1): A is as large in its rows as in its columns.

Rounded to weights of 8 bits (7 fraction bits), Ā forgets more slowly than it should: its spectral radius is 0.91 in
place of 0.89 at order 8, θ 40, and 0.995 in place of 0.94 at order 64, θ 196.  At order 128, θ 784 it is above 1: the
memory is unstable, and has to be trained, or to be shorter.  (``tests/golden/test_lmu.py`` holds these figures.)
"""

import numpy as np

FORMS = ("legendre", "normal")


def continuous(order: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """A (order, order) and B (order,) of ẋ = A·x + B·u, time in frames."""
    i = np.arange(order)
    signs = np.where(i[:, None] < i, -1.0, (-1.0) ** (i[:, None] - i + 1))
    return signs * (2 * i[:, None] + 1) / theta, (2 * i + 1) * (-1.0) ** i / theta


def discrete(order: int, theta: float, form: str = "normal") -> tuple[np.ndarray, np.ndarray]:
    """Ā (order, order) and B̄ (order,) of a frame, in one of FORMS; ValueError for another form."""
    a, b = continuous(order, theta)
    both = np.zeros((order + 1, order + 1))
    both[:order, :order], both[:order, order] = a, b
    held = _exp(both)
    a, b = held[:order, :order], held[:order, order]
    if form == "legendre":
        return a, b
    if form != "normal":
        raise ValueError(f"a memory's form is {' or '.join(FORMS)}, not '{form}'")
    scale = np.sqrt(2 * np.arange(order) + 1)
    return a / scale[:, None] * scale, b / scale


def _exp(matrix: np.ndarray) -> np.ndarray:
    """e to the power of a matrix, by halving and a Taylor series."""
    halvings = max(0, int(np.ceil(np.log2(max(np.abs(matrix).sum(1).max(), 1e-9)))) + 4)
    small, total, term = matrix / 2.0**halvings, np.eye(len(matrix)), np.eye(len(matrix))
    for k in range(1, 16):
        term = term @ small / k
        total = total + term
    for _ in range(halvings):
        total = total @ total
    return total
