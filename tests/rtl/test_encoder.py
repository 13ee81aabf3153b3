import json

import pytest

from tidegate.spec.rules import RULES
from tidegate_hw.stages.encoder import Encoder
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize(("values", "late", "rules", "fast"), [
    (1, 1, ("diffuse",), False), (4, 2, ("delta",), True), (4, 2, RULES, True), (4, 1, RULES, False),
    (8, 1, ("delta",), False), (2, 1, ("diffuse",), True)])
def test_encoder(values, late, rules, fast):
    run_bench(Encoder(values, 6, late=late, rules=rules, fast=fast), "tidegate_sim.benches.encoder",
              f"encoder_{values}", env={"BENCH": json.dumps([values, 6, late, rules])})
