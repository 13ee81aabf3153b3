import json
from dataclasses import asdict

import pytest

from tidegate.spec.design import Design
from tidegate_hw.core import Core
from tidegate_sim.runner import run_bench

SMALL = {"weight_words": 512, "acc_words": 64, "features": 16, "neurons": 64, "classes": 16}


@pytest.mark.parametrize("rates", [(4, 1, 2), (8, 4, 4)], ids="lanes{0[0]}".format)
def test_core(rates):
    design = Design(*rates, **SMALL)
    run_bench(Core(design), "tidegate_sim.benches.core", f"core_{design.lanes}",
              env={"BENCH": json.dumps(asdict(design))})
