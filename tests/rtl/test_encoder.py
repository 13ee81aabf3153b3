import json

import pytest

from tidegate.spec.rules import RULES
from tidegate_hw.stages.encoder import Encoder
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize(("values", "late", "rules"), [
    (1, 1, ("diffuse",)), (4, 2, ("delta",)), (4, 2, RULES), (8, 1, ("delta",))])
def test_encoder(values, late, rules):
    run_bench(Encoder(values, 6, late=late, rules=rules), "tidegate_sim.benches.encoder", f"encoder_{values}",
              env={"BENCH": json.dumps([values, 6, late, rules])})
