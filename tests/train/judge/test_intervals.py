import numpy as np
import pytest

from tidegate.train.judge.intervals import poisson_interval, share_interval


@pytest.mark.parametrize("count, low, high", [          # Garwood's table, as it is reprinted
    (0, 0, 3.6889), (1, 0.0253, 5.5716), (2, 0.2422, 7.2247), (10, 4.7954, 18.3904), (20, 12.2165, 30.8884),
    (100, 81.3640, 121.6268)])
def test_rates(count, low, high):
    assert poisson_interval(count, 1.0) == pytest.approx((low, high), abs=1e-4)
    assert poisson_interval(count, 4.0) == pytest.approx((low / 4, high / 4), abs=1e-4)


@pytest.mark.parametrize("count, total, low, high", [
    (0, 10, 0, 0.30850), (5, 10, 0.18709, 0.81291), (10, 10, 0.69150, 1), (1, 100, 0.00025, 0.05446),
    (0, 0, 0, 1)])
def test_shares(count, total, low, high):
    assert share_interval(count, total) == pytest.approx((low, high), abs=1e-5)


def test_intervals_hold_their_level():
    """Drawn anew many times, the truth is within 95 % intervals in at least about 95 % of cases."""
    rng = np.random.default_rng(1)
    rates = [poisson_interval(int(n), 2.0) for n in rng.poisson(2 * 3.5, 2000)]
    assert 0.94 < np.mean([low <= 3.5 <= high for low, high in rates]) < 0.99
    shares = [share_interval(int(n), 60) for n in rng.binomial(60, 0.1, 2000)]
    assert 0.94 < np.mean([low <= 0.1 <= high for low, high in shares]) < 0.995


def test_large_counts():
    low, high = poisson_interval(40_000, 10.0)
    assert (low, high) == pytest.approx((4000 - 39.2, 4000 + 39.3), abs=0.3)
    low, high = share_interval(3000, 10_000)
    assert (low, high) == pytest.approx((0.291, 0.309), abs=1e-3)


@pytest.mark.parametrize("call", [lambda: poisson_interval(-1, 1), lambda: poisson_interval(1, 0),
                                  lambda: share_interval(3, 2)])
def test_nonsense_is_refused(call):
    with pytest.raises(ValueError):
        call()
