"""docs/own-script.md: the scripts of the page as they stand, then `tidegate verify` and `tidegate fit`."""

import re
import subprocess
import sys
from pathlib import Path

from command import tidegate

PAGE = Path(__file__).parents[2] / "docs/own-script.md"


def test_the_scripts_of_the_page(compiled, tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    first, second = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert first.count("\n") <= 40
    (tmp_path / "own.py").write_text(f"{first}\n{second}", encoding="utf-8")
    done = subprocess.run([sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tones, *others = done.stdout.splitlines()
    found = re.fullmatch(r"(.*)% right, (.*)x fewer weight reads, Θ \[\d+, \d+\]", tones)
    assert found and float(found[1]) > 97 and 7 < float(found[2]) < 9, done.stdout
    assert [line.split(":")[0] for line in others] == ["spikes", "memory"]
    for line in others:
        found = re.fullmatch(r".*: (.*)% right, (.*)x fewer weight reads", line)
        assert found and float(found[1]) > 95 and float(found[2]) > 1.5, done.stdout
    commands = re.findall(r"^tidegate (.*)$", text, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["verify", "fit", "verify", "verify"]
    for command in commands:
        words = [str(tmp_path / word) if "." in word else word for word in command.split()]
        done = tidegate(*words)
        assert done.returncode == 0, done.stderr
        assert words[0] != "verify" or " 0 mismatches" in done.stdout
