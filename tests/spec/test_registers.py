"""The register map: no two registers share an address, and banks have room for every signal and layer."""

from dataclasses import replace
from pathlib import Path

import pytest

from tidegate.spec.design import Design
from tidegate.spec.network import MAX_LAYERS, MAX_SIGNALS
from tidegate.spec.registers import BY_NAME, REGISTERS, register_table
from tidegate.spec.rules import RULES


def test_addresses_and_names_are_unique():
    assert len({r.address for r in REGISTERS}) == len({r.name for r in REGISTERS}) == len(REGISTERS)
    assert all(0 < r.bits <= 32 and r.doc for r in REGISTERS)


def test_banks_are_complete_and_contiguous():
    for bank, count in {"THETA": MAX_SIGNALS, "COLUMN_BASE": MAX_SIGNALS, "LAYER_SIZE": MAX_LAYERS, "RULE": MAX_SIGNALS,
                        "LOWEST": MAX_SIGNALS, "HIGHEST": MAX_SIGNALS, "LAYER_CONSUME": MAX_LAYERS,
                        "LAYER_ACTIVATION": MAX_LAYERS}.items():
        addresses = [BY_NAME[f"{bank}{k}"].address for k in range(count)]
        first = count - MAX_LAYERS              # the features' registers come before those of the first layer
        pages = [page * 0x100 + addresses[first] + k for page in range(MAX_LAYERS // 4) for k in range(4)]
        assert addresses == [addresses[0]][:first] + pages and addresses[0] == addresses[first] - first
        assert f"{bank}{count}" not in BY_NAME


def test_a_design_has_the_registers_of_its_layers():
    """Those of four layers in any case, and the others that it has room for."""
    for layers, there in ((1, 4), (4, 4), (5, 5), (32, 32)):
        design = replace(Design(), layers=layers)
        assert [BY_NAME[f"LAYER_SIZE{l}"].there(design) for l in range(32)] == [l < there for l in range(32)]
        assert BY_NAME["LAYER_SIZE4"].width(design) == (11 if layers > 4 else 0)
    assert BY_NAME["LAYERS"].width(Design()) == 3 and BY_NAME["LAYERS"].width(replace(Design(), layers=9)) == 6


def test_the_page_in_docs_is_the_table():
    page = (Path(__file__).parents[2] / "docs" / "registers.md").read_text()
    assert page.endswith(register_table())


@pytest.mark.parametrize("capacity", [1, 15, 16, 31, 32, 122])
def test_what_is_too_large_for_a_register_stays_too_large(capacity):
    design = replace(Design(), classes=capacity)
    kept = [BY_NAME["STOP_CLASSES"].kept(value, design) for value in (0, capacity, capacity + 1, 0xFFFF)]
    assert kept[:3] == [0, capacity, capacity + 1] and kept[3] > capacity


@pytest.mark.parametrize(("names", "there"), [
    (("FEATURES_AFTER",), (dict(cells=("lstm",)), dict(cells=("gru", "unit")), dict(cells=("unit",)))),
    (("LAYER_ACTIVATION0", "LAYER_ACTIVATION3"), (dict(cells=("gru", "unit")), dict(cells=("unit",)))),
    (("LAYER_CONSUME0", "LOGIT_CONSUME", "RULE4", "LOWEST0", "HIGHEST4"), (dict(rules=RULES),)),
], ids=str)
def test_registers_of_what_a_design_has(names, there):
    """Without it they are not there, and nothing is kept of what is written."""
    lacks = [design for design in (dict(), dict(cells=("lstm",)), dict(cells=("unit",)), dict(rules=RULES))
             if design not in there]
    for name in names:
        register = BY_NAME[name]
        for design in (Design(**changes) for changes in there):
            assert register.there(design) and register.kept(1, design) == 1
        for design in (Design(**changes) for changes in lacks):
            assert not register.there(design) and register.width(design) == register.kept(1, design) == 0
