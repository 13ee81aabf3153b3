"""Measures the delay from sound to output: from the last sample of the deciding frame to the line with the word.

    python -m tidegate_sim.latency

The bundled words go through a pipe into ``tidegate listen -`` at the pace at which they would be spoken, 16 ms at a
time.  A line tells the time of its frame's last sample; the time at which the write of that sample began is known.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from statistics import median

import numpy as np

from tidegate.clips import clips
from tidegate.host.audio import read_audio

RATE, CHUNK = 16000, 256
LIMIT_MS = 150.0


class Feeder:
    """Writes samples to a pipe in real time.  ``began[k]``: when the write of chunk k began."""

    def __init__(self, samples: np.ndarray, pipe):
        self.began: list[float] = []
        self._data, self._pipe = (np.clip(samples, -1, 1) * 32767).astype("<i2"), pipe

    def run(self) -> None:
        start = time.monotonic()
        for k in range(0, len(self._data), CHUNK):
            part = self._data[k : k + CHUNK]
            time.sleep(max(0.0, start + (k + len(part)) / RATE - time.monotonic()))
            self.began.append(time.monotonic())
            self._pipe.write(part.tobytes())
        self._pipe.close()


def measure_latency(model: str, lanes: int, words: int) -> dict:
    """Latencies in ms, of each word heard in so many bundled words."""
    sound = [read_audio(clip.path, RATE) for clip in clips()]
    samples = np.concatenate([sound[k % len(sound)] for k in range(words)])
    command = [sys.executable, "-m", "tidegate.cli", "listen", "-", "--json", "--model", model, "--lanes", str(lanes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin and process.stdout
        process.stdin.write(bytes(2 * CHUNK))       # it waits for a first sound, and then opens the board
        time.sleep(5)
        feeder = Feeder(samples, process.stdin)
        thread = threading.Thread(target=feeder.run)
        thread.start()
        latencies, summary = [], {}
        for line in process.stdout:
            now, entry = time.monotonic(), json.loads(line)
            if entry["event"] == "word":
                last = round(entry["time_s"] * RATE) - 1 - CHUNK        # without the first sound
                latencies.append(1000 * (now - feeder.began[last // CHUNK]))
            elif entry["event"] == "summary":
                summary = entry
        thread.join()
    if not latencies or summary.get("lost"):
        raise SystemExit(f"nothing to measure: {len(latencies)} words, {summary}")
    return {"model": model, "lanes": lanes, "words": len(latencies), "median_ms": median(latencies),
            "max_ms": max(latencies), "limit_ms": LIMIT_MS, "load": os.getloadavg()[0],
            "passed": max(latencies) <= LIMIT_MS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="commands")
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--words", type=int, default=74, help="bundled words to play, a second each")
    options = parser.parse_args()
    report = measure_latency(options.model, options.lanes, options.words)
    print(json.dumps(report, indent=2))
    sys.exit(not report["passed"])


if __name__ == "__main__":
    main()
