"""The page of figures says what was measured."""

import json
from pathlib import Path

import pytest

from tidegate_sim.performance import render

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_made_from_the_measurements():
    text = (DOCS / "performance.md").read_text()
    rows, tools = (json.loads((DOCS / name).read_text()) for name in ("performance.json", "tools.json"))
    assert render(text, rows, tools) == text
    assert all((row["mismatches"], row["model_mismatches"]) == (0, 0) for row in rows)
    assert "| random-128 | 64 | " in text and tools["machine"] in text
    with pytest.raises(SystemExit, match="one place for 'cycles'"):
        render(text.replace("<!-- cycles -->", ""), rows, tools)
