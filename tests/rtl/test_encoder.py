import json

import pytest

from tidegate_hw.stages.encoder import Encoder
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize(("values", "late", "diffuses"), [(1, 1, True), (4, 2, False), (4, 2, True), (8, 1, False)])
def test_encoder(values, late, diffuses):
    run_bench(Encoder(values, 6, late=late, diffuses=diffuses), "tidegate_sim.benches.encoder", f"encoder_{values}",
              env={"BENCH": json.dumps([values, 6, late, diffuses])})
