"""The link answers every packet as the model of a board does, acts once, and cannot be hung."""

from dataclasses import replace

import pytest

import tidegate_hw.link.frame
import tidegate_hw.link.link
from tidegate_sim.benches.link import DESIGN, DIGEST
from tidegate_sim.benches.stand_in_core import LinkWithCore
from tidegate_sim.runner import run_bench
from tidegate_sim.streams import STALLS

BENCH = "tidegate_sim.benches.link"
TIMEOUT = 150       # some requests take longer, and no frame of them


def run(name: str, fuzz: int, **options) -> int:
    component = LinkWithCore(DESIGN, DIGEST, TIMEOUT)
    return run_bench(component, BENCH, name, env={"TIMEOUT": str(TIMEOUT), "FUZZ": str(fuzz)}, depth=2, **options)


def test_link():
    assert run("link_with_core", 2000) == 4 + 1 + 1 + 1 + 1 + 5 + 4


def test_a_memory_shorter_than_a_packet():
    component = LinkWithCore(replace(DESIGN, weight_words=16), DIGEST, TIMEOUT)
    assert run_bench(component, BENCH, "link_with_small_memory", testcase="keeps_to_the_memory",
                     env={"TIMEOUT": str(TIMEOUT), "FUZZ": "0", "WORDS": "16"}) == 1


@pytest.mark.slow
def test_link_fuzz():
    assert run("link_with_core", 100_000, testcase=[f"answers_anything/stalls={s}" for s in STALLS], timeout=3000) == 4


def test_one_frame_too_few_is_seen(monkeypatch):
    monkeypatch.setattr(tidegate_hw.link.link, "MOST_WORDS", 127)
    with pytest.raises(AssertionError, match="failed: refuses"):
        run("link_with_less_room", 0, testcase="refuses")


def test_features_that_wrap_are_seen(monkeypatch):
    monkeypatch.setattr(tidegate_hw.link.frame, "saturate", lambda value, bits: value[:bits].as_signed())
    with pytest.raises(AssertionError, match="failed: does_each_request_once"):
        run("link_with_fault", 0, testcase="does_each_request_once/stalls=none")
