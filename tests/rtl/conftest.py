import pytest

from tidegate_sim.runner import unavailable


@pytest.fixture(autouse=True)
def _simulator():
    if reason := unavailable():
        pytest.skip(reason)
