import json

import pytest

from tidegate_hw.encoder import Encoder
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize("values", [1, 4, 8])
def test_encoder(values):
    run_bench(Encoder(values, 6), "tidegate_sim.benches.encoder", f"encoder_{values}",
              env={"BENCH": json.dumps([values, 6])})
