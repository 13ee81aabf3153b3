"""The page of figures says what was measured."""

import json
from pathlib import Path

import pytest

from tidegate.spec.cycles import steady_cycles
from tidegate.spec.design import SIMULATED
from tidegate.spec.layer import Layer
from tidegate.spec.layout import Layout
from tidegate.spec.network import Network
from tidegate_sim.performance import fill_page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_made_from_the_measurements():
    text = (DOCS / "performance.md").read_text()
    rows, tools = (json.loads((DOCS / name).read_text()) for name in ("performance.json", "tools.json"))
    assert fill_page(text, rows, tools) == text
    assert all((row["mismatches"], row["model_mismatches"]) == (0, 0) for row in rows)
    assert "| random-128 | 64 | " in text and tools["machine"] in text
    for row in rows:                # the cycle model has not changed since
        if row["target_occupancy"] is not None:
            network = Network(40, tuple(map(Layer, row["gru"])), Layer(0), (0, 0))
            layout = Layout(network, SIMULATED[row["lanes"]])
            events = [share * network.elements(s) for s, share in enumerate(row["occupancy_of_signals"])]
            assert row["steady_cycles"] == pytest.approx(steady_cycles(layout, events), rel=1e-9)
    with pytest.raises(SystemExit, match="one place for 'cycles'"):
        fill_page(text.replace("<!-- cycles -->", ""), rows, tools)
