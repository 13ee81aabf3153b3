"""The link answers every packet as the model of a board does, acts once, and cannot be hung."""

from dataclasses import replace

import pytest

import tidegate_hw.link.frame
import tidegate_hw.link.link
from tidegate.spec.design import Design
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
    assert run("link_with_core", 2000) == 4 + 1 + 1 + 4 + 1 + 1 + 5 + 4


@pytest.mark.parametrize(("features", "payload"), [(257, 1024), (1024, 2048)])
def test_a_payload_that_carries_a_wide_frame(features, payload):
    design, timeout = replace(DESIGN, features=features, weight_words=256), 500
    assert design.payload == payload
    assert run_bench(LinkWithCore(design, DIGEST, timeout), BENCH, f"link_with_{features}_features",
                     testcase=[f"fills_a_payload/stalls={s}" for s in STALLS],
                     env={"TIMEOUT": str(timeout), "FUZZ": "0", "WORDS": "256", "FEATURES": str(features)}) == 4


def test_a_payload_that_is_stored_in_part_is_seen(monkeypatch):
    design, timeout = replace(DESIGN, features=300, weight_words=256), 500
    monkeypatch.setattr(Design, "payload", 512)
    with pytest.raises(AssertionError, match="failed: fills_a_payload"):
        run_bench(LinkWithCore(design, DIGEST, timeout), BENCH, "link_with_half_the_room",
                  testcase="fills_a_payload/stalls=none",
                  env={"TIMEOUT": str(timeout), "FUZZ": "0", "WORDS": "256", "FEATURES": "300"})


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
