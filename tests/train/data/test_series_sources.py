"""Public series from made files of their formats: even steps, no look ahead, and one line for what is damaged."""

import numpy as np
import pytest

from tidegate.train.data.series import read_records
from tidegate.train.data.series_sources import last_values, low_passed, read_source, write_records
from tidegate.train.errors import DataError


def test_the_last_value_is_held():
    times, values = np.array([1.0, 2, 4]), np.array([[10.0], [20], [40]])
    assert last_values(times, values, np.array([0.5, 1, 1.9, 2, 3.9, 9])).ravel().tolist() == [10, 10, 10, 20, 20, 40]


def test_smoothing_knows_no_later_frame():
    x = np.zeros((9, 1), np.float32)
    x[4:] = 1
    assert np.allclose(low_passed(x, 2.0)[:, 0], [0] * 4 + [1 - np.exp(-n / 2) for n in range(1, 6)])
    assert np.array_equal(low_passed(np.ones((5, 2), np.float32), 3.0), np.ones((5, 2)))


def test_csv(tmp_path):
    lines = ["timestamp,load,heat"] + [f"2014-01-01 00:{5 * k:02}:00,{k},{10 * k}" for k in range(12) if k != 3]
    lines += [f"2014-01-02 00:{5 * k:02}:00,{k},{k}" for k in range(12)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines) + "\n")
    records = read_source(path)
    assert records.names == ("heat",) and records.rate == pytest.approx(1 / 300) and len(records.records) == 2
    first = records.records[0]
    assert np.array_equal(first.y[:, 0], 10 * np.arange(12)) and first.x[3].tolist() == [2, 20]      # held, not between
    finer = read_source(path, "load", 60.0)
    assert finer.names == ("load",) and np.allclose(finer.records[0].y[:6, 0], np.arange(6) / 5, atol=1e-6)
    assert finer.records[0].x[:6, 0].tolist() == [0] * 5 + [1]
    slow, = read_source(path, smooth=600.0).records[:1]
    assert np.array_equal(slow.x, low_passed(first.x, 2.0)) and np.array_equal(slow.y, first.y)
    with pytest.raises(DataError, match="above 0 seconds"):
        read_source(path, smooth=float("inf"))
    written = write_records(records, tmp_path / "b.npz")
    assert [file.name for file in written] == ["b-1.npz", "b-2.npz"]
    path.unlink()
    again = read_records(tmp_path)
    assert again.names == records.names and again.rate == records.rate
    assert all(np.array_equal(a.x, b.x) and np.array_equal(a.y, b.y)
               for a, b in zip(again.records, records.records, strict=True))


def test_wfdb_in_format_212(tmp_path):
    rng = np.random.default_rng(1)
    samples = rng.integers(-2048, 2048, (50, 2))
    low, high = samples.T & 0xFFF
    (tmp_path / "r.dat").write_bytes(np.stack([low & 255, low >> 8 | high >> 8 << 4, high & 255], 1).astype(np.uint8))
    (tmp_path / "r.hea").write_text("r 2 360 50\nr.dat 212 200 11 1024 0 0 0 MLII\nr.dat 212 100 11 0 0 0 0 V5\n# x\n")
    record, = (records := read_source(tmp_path / "r.hea")).records
    assert records.names == ("V5",) and records.units == ("mV",) and records.rate == 360
    assert np.allclose(record.x[:, 0], (samples[:, 0] - 1024) / 200)
    assert np.allclose(record.y[:, 0], samples[:, 1] / 100)


def test_driving(tmp_path):
    rng, held = np.random.default_rng(2), {}
    for name, width, step in (("steering_angle", 0, 0.012), ("wheel_speed", 4, 0.012), ("speed", 1, 0.012),
                              ("gyro", 3, 0.0096), ("accelerometer", 3, 0.0096)):
        times = 100 + np.arange(round(5 / step)) * step
        held[f"{name}_t"], held[f"{name}_value"] = times, rng.normal(size=(len(times), width) if width else len(times))
    np.savez(tmp_path / "segment.npz", **held)
    record, = (records := read_source(tmp_path / "segment.npz")).records
    assert records.rate == 100 and records.names == ("steering angle",) and record.x.shape[1] == 9
    assert abs(len(record.x) - 499) <= 2
    assert np.allclose(record.x[0, 1], held["wheel_speed_value"][0, 0] - held["wheel_speed_value"][0, 1])


def test_what_is_no_series(tmp_path):
    (tmp_path / "a.csv").write_text("timestamp,value\nyesterday,1\ntoday,2\n")
    (tmp_path / "b.csv").write_text("timestamp,value\n1,1\n2\n")
    (tmp_path / "c.csv").write_text("")
    (tmp_path / "d.npz").write_bytes(b"nothing")
    (tmp_path / "e.hea").write_text("r 2 360 50\nr.dat 16 200 11 1024 0 0 0 MLII\nr.dat 16 100 11 0 0 0 0 V5\n")
    (tmp_path / "f.hea").write_text("nothing\n")
    (tmp_path / "g.txt").write_text("")
    for name in ("a.csv", "b.csv", "c.csv", "d.npz", "e.hea", "f.hea", "g.txt", "h.csv"):
        with pytest.raises(DataError) as error:
            read_source(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"only a \.csv has a --target"):
        read_source(tmp_path / "f.hea", "x")
