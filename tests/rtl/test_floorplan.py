import re

import pytest

from tidegate.spec.boards import board_spec

pytest.importorskip("amaranth_boards")
from tidegate_hw.boards.floorplan import floorplan
from tidegate_hw.stages.bank import powers


def test_every_lane_has_its_multiplier_and_its_memories_and_no_site_is_taken_twice():
    design = board_spec("ulx3s").design()
    places = floorplan(design)
    sites = [site for _, _, site in places]
    assert len(set(sites)) == len(sites)
    parts = [re.fullmatch(r"core\.top\.core\.lanes\.bank(\d+)\.(product|weights\d\.0\.)(\d+)(?:_\*)?", name).groups()
             for name, _, _ in places if ".lanes." in name]
    assert len(powers(design.weight_words)) == 2
    for kind, count in (("product", 16), ("weights0.0.", 16), ("weights1.0.", 4)):
        found = sorted((int(bank), int(part)) for bank, of, part in parts if of == kind)
        assert found == [(bank, part) for bank in range(design.lanes // 16) for part in range(count)]


def positions() -> dict[str, list[int]]:
    return {name: [int(x) for x in re.match(r"X(\d+)/Y(\d+)", site).groups()]
            for name, _, site in floorplan(board_spec("ulx3s").design())}


def test_a_bank_is_a_neighbourhood():
    places = positions()
    for bank in range(8):
        xs, ys = zip(*(places[f"core.top.core.lanes.bank{bank}.product{lane}_*"] for lane in range(16)), strict=True)
        assert max(xs) - min(xs) + max(ys) - min(ys) < 64, bank


def test_four_lanes_are_neighbours():
    places = positions()
    for lane in range(128):
        bank = f"core.top.core.lanes.bank{lane // 16}."
        x, y = places[f"{bank}product{lane % 16}_*"]
        for memory in (f"weights0.0.{lane % 16}", f"weights1.0.{lane % 16 // 4}"):
            there = places[bank + memory]
            assert abs(there[0] - x) < 40 and abs(there[1] - y) <= 24, (lane, memory)
