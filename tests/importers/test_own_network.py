"""The code of docs/own-network.md, run as it stands, on made data."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from command import tidegate
from made_networks import Net, exported

from tidegate.spec.model import read_model

PAGE = (Path(__file__).parents[2] / "docs/own-network.md").read_text(encoding="utf-8")


def blocks_of(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def without_numbers(text: str) -> list[str]:
    """The words of each line: what a training on another CPU prints, too."""
    return [" ".join(re.sub(r"-?\d+(\.\d+)?", "#", line).split()) for line in text.splitlines()]


def test_the_page_runs_as_it_stands(tmp_path, compiled):
    torch.manual_seed(0)
    net = Net("GRU", 20, 32, 1, 4, batch_first=False)
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(0, 1, (60, 6, 20)), 5, 1) + rng.normal(0, 0.1, (60, 30, 20))
    with torch.no_grad():
        y = net(torch.from_numpy(x).float().transpose(0, 1))[-1].argmax(1).numpy()
    np.savez(tmp_path / "calibration.npz", x=x, y=y)
    np.savez(tmp_path / "test.npz", x=x[::2], y=y[::2])
    torch.save(net.state_dict(), tmp_path / "trained.pt")
    (tmp_path / "trained.onnx").write_bytes(exported(net))
    (tmp_path / "frames").mkdir()
    np.save(tmp_path / "frames/a.npy", x[0])

    python = blocks_of("python")
    assert len(python) == 2
    (tmp_path / "page.py").write_text("\n".join(python), encoding="utf-8")
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert "fetch reduction 4.0" in done.stdout and "'epochs': 5" in done.stdout
    assert read_model(tmp_path / "tuned.tidegate").card["finetuned"]["fetch_reduction"] >= 8
    (tmp_path / "mine.tidegate").unlink()

    commands = [line for block in blocks_of("sh") for line in block.splitlines()]
    assert len(commands) == 7
    said = {}
    for line in commands:
        done = tidegate(*shlex.split(line, comments=True)[1:], cwd=tmp_path, timeout=500)
        assert done.returncode == 0, done.stderr
        said[line.split()[1]] = said.get(line.split()[1], "") + done.stdout
    assert " 0 mismatches" in said["verify"] and "every value is within its bound" in said["verify"]
    assert "on 30 clips; fetch reduction" in said["eval"] and "frames/a.npy" in said["run"]
    assert "cycles a frame" in said["fit"] and (tmp_path / "mine.html").is_file()
    occupancy = read_model(tmp_path / "mine.tidegate").card["conversion"]["occupancy"]
    assert " ".join(f"{share:.1%}" for share in occupancy) in said["fit"]
    assert read_model(tmp_path / "mine.tidegate").labels == tuple("abcd")
    done = tidegate(*shlex.split(commands[-1])[1:-2], cwd=tmp_path)         # with Θ, as the page shows it
    shown = PAGE[PAGE.index("60 sequences, 1800 frames") :].split("```")[0]
    assert done.returncode == 1 and without_numbers(done.stdout) == without_numbers(shown)
