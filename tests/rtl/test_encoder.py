import json

import pytest

from tidegate_hw.stages.encoder import Encoder
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize(("values", "late"), [(1, 1), (4, 2), (8, 1)])
def test_encoder(values, late):
    run_bench(Encoder(values, 6, late=late), "tidegate_sim.benches.encoder", f"encoder_{values}",
              env={"BENCH": json.dumps([values, 6, late])})
