"""The digest names the RTL: the same everywhere for the same hardware, another for any other."""

import subprocess
import sys

import pytest

from tidegate.spec.design import Design
from tidegate_hw.top import Top
from tidegate_hw.verilog import rtl_digest, rtlil_text, verilog_text

SMALL = Design(lanes=2, cell_rate=1, encoder_rate=1, weight_words=64, acc_words=16, features=8, neurons=8, classes=4)


def small_digest(**changes) -> bytes:
    design = Design(**{**SMALL.__dict__, **changes})
    return rtl_digest(lambda digest: Top(design, digest))


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_digest_is_the_same_in_every_process(hash_seed):
    program = (f"from tidegate.spec.design import Design\nfrom tidegate_hw.top import Top\n"
               f"from tidegate_hw.verilog import rtl_digest\n"
               f"print(rtl_digest(lambda digest: Top({SMALL!r}, digest)).hex())")
    run = subprocess.run([sys.executable, "-c", program], env={"PYTHONHASHSEED": hash_seed}, cwd="/",
                         capture_output=True, text=True, check=True)
    assert run.stdout.strip() == small_digest().hex()


@pytest.mark.parametrize("changes", [{"neurons": 16}, {"weight_words": 128}, {"encoder_rate": 2}, {"classes": 5}])
def test_another_design_has_another_digest(changes):
    assert small_digest(**changes) != small_digest()


def test_digest_asks_for_the_top_that_answers_zeros():
    asked = []
    rtl_digest(lambda digest: asked.append(digest) or Top(SMALL, digest))
    assert asked == [bytes(16)]


def test_text_names_no_source_file():
    rtlil = rtlil_text(Top(SMALL, bytes(16)), "tidegate")
    text = verilog_text(rtlil)
    assert "module tidegate(" in text and ".py" not in rtlil + text
