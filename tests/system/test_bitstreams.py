"""The bitstreams in the repository: that they are those of its RTL, fast enough, and made again the same."""

import importlib.metadata
import json
from pathlib import Path

import pytest

from tidegate.host.bitstreams import read_manifest
from tidegate.spec.boards import BOARDS, MANIFEST, board_spec
from tidegate.spec.design import Design

pytest.importorskip("amaranth_boards")
from tidegate_hw import build

FOLDER = Path(__file__).parents[2] / "bitstreams"
BUILT = [board for board in BOARDS if (FOLDER / board / MANIFEST).is_file()]


def manifest_of(board: str) -> dict:
    return json.loads((FOLDER / board / MANIFEST).read_text())


@pytest.mark.parametrize("board", BUILT)
def test_it_belongs_to_this_rtl(board):
    assert build.stale(FOLDER / board) is None
    read_manifest(FOLDER / board / MANIFEST).check()


@pytest.mark.parametrize("board", BUILT)
def test_the_manifest_is_what_nextpnr_reported(board):
    manifest, spec = manifest_of(board), board_spec(board)
    report = json.loads((FOLDER / board / build.REPORT).read_text())
    fmax = min(clock["achieved"] for clock in report["fmax"].values())
    assert manifest["fmax_mhz"] == round(fmax, 2) and fmax >= manifest["clock_mhz"] == spec.clock / 1e6
    assert Design(**manifest["capacities"]) == spec.design() and manifest["device"] == spec.device
    used = {(count["used"], count["available"]) for count in report["utilization"].values()}
    assert {tuple(pair) for pair in manifest["utilisation"].values()} <= used
    assert not manifest["git_revision"].endswith("-dirty")


@pytest.mark.slow               # 6 to 12 minutes
@pytest.mark.timeout(1800)
def test_the_same_tools_give_the_same_bytes(tmp_path):
    """The whole build of the iCEBreaker, as ``make bitstream`` has it."""
    manifest = manifest_of("icebreaker")
    here = {package: importlib.metadata.version(package) for package in manifest["tools"]}
    if here != manifest["tools"]:
        pytest.skip(f"the bitstream was built with {manifest['tools']}, here is {here}")
    again = build.build("icebreaker", board_spec("icebreaker").design(), tmp_path / "to", tmp_path / "work")
    assert again == manifest | {"git_revision": again["git_revision"]}
