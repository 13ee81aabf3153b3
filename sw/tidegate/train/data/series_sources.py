"""Public series in their publishers' files → ``Records`` of regular steps; ``write_records`` makes an ``.npz`` of each.

    driving     comma2k19, ``NAME_t`` and ``NAME_value`` in an .npz: the steering angle from what else the car measures
    csv         a column of times and columns of numbers, as in the Numenta Anomaly Benchmark: one of these columns
    wfdb        a .hea and a .dat in format 212, as MIT-BIH: the second lead from the first

Values between two measurements are those of a straight line, but what a network hears is held from the last
measurement on, so that no frame knows what comes later.
``low_passed`` also takes the noise off, which a delta network would send.
"""

import csv
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from tidegate.spec.files import replacing

from ..errors import DataError
from .series import Record, Records

DRIVING_RATE = 100.0        # frames per second
_ANGLE = "steering_angle"
_GAP = 3.0                  # of a csv: steps that may be missing before a new record begins


def read_source(path: str | Path, target: str = "", step: float | None = None, smooth: float = 0.0) -> Records:
    """Records of a file of one of the three kinds above, by its suffix; DataError if it is none or is damaged.

    ``target``: of a csv, the column to be told ("": the last).  ``step``: seconds per frame of a csv (None: the median
    of its steps).  ``smooth``: time constant in seconds of the low-pass that ``x`` goes through (0: none).
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no file '{path}'; give an .npz of comma2k19, a .csv, or a .hea of WFDB")
    readers = {".npz": _driving, ".csv": lambda file: _csv(file, target, step), ".hea": _wfdb}
    if path.suffix not in readers:
        raise DataError(f"'{path}' is no .npz, .csv or .hea; these are the kinds of series that can be read")
    if path.suffix != ".csv" and (target or step):
        raise DataError("only a .csv has a --target and a --step to choose; leave them out")
    try:
        records = readers[path.suffix](path)
    except (OSError, ValueError, KeyError, IndexError, EOFError, BadZipFile, csv.Error) as error:
        raise DataError(f"'{path}' cannot be read ({' '.join(str(error).split())}); copy it again") from None
    if not smooth:
        return records
    if not 0 < smooth < float("inf"):
        raise DataError(f"a time constant is above 0 seconds, not {smooth:g}")
    frames = smooth * (records.rate or 1.0)
    return replace(records, records=tuple(Record(low_passed(r.x, frames), r.y) for r in records.records))


def low_passed(x: np.ndarray, frames: float) -> np.ndarray:
    """(T, features) float32 through a low-pass of one pole whose time constant is ``frames``; no frame knows later
    ones.  It begins at the first frame: s[t] = s[t-1] + (1 - exp(-1/frames))·(x[t] - s[t-1])."""
    share, made = -np.expm1(-1 / frames), x.astype(np.float64)
    for before, row in pairwise(made):
        row += (share - 1) * (row - before)
    return made.astype(np.float32)


def write_records(records: Records, path: str | Path) -> list[Path]:
    """One record as the ``.npz`` that the task ``series`` reads, or several, each in a file of its own,
    ``NAME-1.npz`` and so on.  The files written; DataError if one cannot be."""
    path = Path(path)
    if path.suffix != ".npz":
        raise DataError(f"'{path}' is no name of an .npz file; give one that ends in .npz")
    written, many = [], len(records.records) > 1
    for k, record in enumerate(records.records):
        file = path.with_name(f"{path.stem}-{k + 1}.npz") if many else path
        held = {"x": record.x, "y": record.y, "names": np.array(records.names), "units": np.array(records.units)}
        if records.rate is not None:
            held["rate"] = np.array(records.rate)
        try:
            with replacing(file) as part, part.open("wb") as out:
                np.savez_compressed(out, allow_pickle=False, **held)
        except OSError as error:
            raise DataError(f"'{file}' cannot be written ({error.strerror}); choose another place") from None
        written.append(file)
    return written


def last_values(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(len(at), ...): the last value at or before each time; the first value before that."""
    return values[np.clip(np.searchsorted(times, at, "right") - 1, 0, None)]


def _driving(path: Path) -> Records:
    """``x``: speed, difference of the front and of the rear wheels' speeds, gyroscope, accelerometer."""
    with np.load(path, allow_pickle=False) as archive:
        values = {name: np.asarray(archive[f"{name}_value"], np.float64)
                  for name in (_ANGLE, "wheel_speed", "speed", "gyro", "accelerometer")}
        times = {name: np.asarray(archive[f"{name}_t"], np.float64) for name in values}
    begin, end = max(float(t[0]) for t in times.values()), min(float(t[-1]) for t in times.values())
    at = begin + np.arange(int((end - begin) * DRIVING_RATE)) / DRIVING_RATE
    wheels = last_values(times["wheel_speed"], values["wheel_speed"], at)
    x = np.concatenate([last_values(times["speed"], values["speed"].reshape(-1, 1), at),
                        wheels[:, 0:1] - wheels[:, 1:2], wheels[:, 2:3] - wheels[:, 3:4],
                        *(last_values(times[name], values[name], at) for name in ("gyro", "accelerometer"))], 1)
    y = np.interp(at, times[_ANGLE], values[_ANGLE].ravel())[:, None]
    return Records((Record(x.astype(np.float32), y.astype(np.float32)),), ("steering angle",), ("deg",), DRIVING_RATE)


def _csv(path: Path, target: str, step: float | None) -> Records:
    with path.open(newline="", encoding="utf-8") as file:
        head, *lines = [line for line in csv.reader(file) if line]
    names = head[1:]
    if not names or len(lines) < 2 or any(len(line) != len(head) for line in lines):
        raise ValueError("it has no column beside the time, or lines of different lengths")
    if target and target not in names:
        raise DataError(f"'{path}' has no column '{target}'; its columns are {', '.join(names)}")
    times = np.array([_seconds(line[0]) for line in lines])
    values = np.array([[float(value) for value in line[1:]] for line in lines])
    times, first = np.unique(times, return_index=True)      # sorted; of two at one time the first
    values, steps = values[first], np.diff(times)
    step = float(np.median(steps)) if step is None else step
    if step <= 0:
        raise DataError(f"a step is above 0 seconds, not {step:g}")
    ends = [0, *(np.flatnonzero(steps > _GAP * max(step, float(np.median(steps)))) + 1), len(times)]
    k, records = names.index(target) if target else len(names) - 1, []
    for begin, end in pairwise(ends):
        at = times[begin] + step * np.arange(round(float(times[end - 1] - times[begin]) / step) + 1)
        x = last_values(times[begin:end], values[begin:end], at + step / 4)
        y = np.interp(at, times[begin:end], values[begin:end, k])[:, None]
        records.append(Record(x.astype(np.float32), y.astype(np.float32)))
    longest = max(len(record.x) for record in records)
    records = [record for record in records if len(record.x) >= longest / 10]       # what is left of a broken one
    return Records(tuple(records), (names[k],), ("",), 1 / step)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _wfdb(path: Path) -> Records:
    lines = [line.split() for line in path.read_text(encoding="ascii").splitlines() if line and line[0] != "#"]
    leads, rate, frames = int(lines[0][1]), float(lines[0][2].partition("/")[0]), int(lines[0][3])
    signals = lines[1 : 1 + leads]
    if leads != 2 or any(signal[1] != "212" for signal in signals):
        raise ValueError("only two leads in format 212 can be read")
    triples = np.frombuffer(path.with_name(signals[0][0]).read_bytes(), np.uint8)[: 3 * frames].reshape(-1, 3)
    low, both, high = triples.astype(np.int32).T
    samples = np.stack([low | (both & 15) << 8, high | both >> 4 << 8], 1)
    samples -= (samples >= 2048) * 4096
    gain = [float(signal[2].partition("(")[0].partition("/")[0]) or 200.0 for signal in signals]
    volts = (samples - [int(signal[4]) for signal in signals]) / gain
    names = [signal[8] if len(signal) > 8 else f"lead {k}" for k, signal in enumerate(signals)]
    return Records((Record(volts[:, :1].astype(np.float32), volts[:, 1:].astype(np.float32)),), (names[1],), ("mV",),
                   rate)
