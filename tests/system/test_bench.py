"""The verb bench: its rows, its plot, its errors."""

import json
import sys

import pytest
from command import fails, tidegate

from tidegate.commands import bench as verb
from tidegate.spec.errors import TidegateError
from tidegate.spec.layout import Layout

FIELDS = ("network", "lanes", "occupancy", "cycles_dense", "cycles_delta", "speedup", "ideal_speedup",
          "sparsity_efficiency", "lane_utilisation_dense", "effective_gops_at_100mhz")
QUICK = ("--hidden", "24", "--lanes", "8", "--frames", "60")


def test_rows_and_plot(tmp_path):
    done = tidegate("bench", *QUICK, "--occupancy", "13", "--occupancy", "100", "--json", "--plot", tmp_path / "x.svg")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["network"], row["lanes"], row["target_occupancy"]) for row in rows] == [
        ("random-24", 8, 0.13), ("random-24", 8, 1.0)]
    for row in rows:
        assert next(iter(row)) == "network" and set(FIELDS) < set(row)
        assert row["speedup"] == pytest.approx(row["cycles_dense"] / row["cycles_delta"])
        assert row["ideal_speedup"] == pytest.approx(1 / row["occupancy"])      # all columns are of one length
        assert row["sparsity_efficiency"] == pytest.approx(row["speedup"] / row["ideal_speedup"])
        assert row["lane_utilisation_dense"] == pytest.approx(row["words_dense"] / row["cycles_dense"])
        weights = 2 * 64 * 72
        assert row["effective_gops_at_100mhz"] == pytest.approx(weights * 0.1 / row["cycles_delta"])
        assert (row["mismatches"], row["model_mismatches"], row["first_mismatch"]) == (0, 0, None)
        assert row["words_dense"] == 64 * 9
    assert abs(rows[0]["occupancy"] - 0.13) < 0.02
    assert rows[1]["occupancy_of_signals"][0] == 1
    svg = (tmp_path / "x.svg").read_text()
    assert "<svg" in svg


def test_a_model_on_the_bundled_clips(model):
    done = tidegate("bench", model, "--lanes", "8")
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if "│ 8 " in line]
    assert [cell.strip() for cell in row.split("│")[-3:-1]] == ["0", "0"]       # mismatches, cycles off


def test_a_mismatch_is_counted_and_fails(monkeypatch, capsys):
    pack = Layout.pack

    def faulty(self, model):
        memory = pack(self, model)
        memory[0, 3] ^= 64
        return memory

    monkeypatch.setattr(Layout, "pack", faulty)
    with pytest.raises(TidegateError, match=r"1 rows differ .* first random-24 with 8 lanes: frame \d+: "):
        verb.bench(None, [8], [24], [50.0], 60, None, False, True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row["mismatches"] > 0


def test_wrong_cycles_are_counted_and_fail(monkeypatch, capsys):
    import tidegate_sim.measure as measure

    real = measure.frame_cycles

    def wrong(*arguments):
        cycles = real(*arguments)
        cycles[7:9] += 1
        return cycles

    monkeypatch.setattr(measure, "frame_cycles", wrong)
    with pytest.raises(TidegateError, match="4 frames take other cycles"):      # two in delta, two in dense mode
        verb.bench(None, [8], [24], [50.0], 60, None, False, True)
    assert json.loads(capsys.readouterr().out)[0]["mismatches"] == 0


def test_errors_are_one_line(tmp_path, monkeypatch):
    fails(tidegate("bench", "--lanes", "7"), "no simulated core with 7 lanes; choose 8, 16, 64, 128")
    fails(tidegate("bench", *QUICK, "--plot", tmp_path / "x.gif"), "name it .png, .svg or .pdf")
    fails(tidegate("bench", *QUICK, "--plot", tmp_path / "no" / "x.png"), "there is no such folder")
    fails(tidegate("bench", "digits", "--plot", tmp_path / "x.png"), "add --hidden")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(TidegateError, match=r"this needs matplotlib: .* 'tidegate\[plot\]'"):
        verb.bench(None, [8], [24], [50.0], 60, tmp_path / "x.png", False, True)


def test_tools_are_timed(monkeypatch):
    """The measurements themselves, made small; the figures are judged in docs/performance.md."""
    from tidegate_sim import speed

    monkeypatch.setattr(speed, "_UTTERANCES", 40)
    figures = speed.golden()
    assert figures["frames_each"] == 61
    assert figures["utterances_per_second"] >= figures["utterances_per_second_with_features"] > 0
    step = speed.training_step(repeats=3)
    assert step["ratio"] > 0 and "H = 128" in step["size"]
    assert "cores" in speed.machine()
