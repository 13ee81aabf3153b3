"""docs/own-script.md: the script of the page as it stands, then `tidegate verify` and `tidegate fit`."""

import re
import subprocess
import sys
from pathlib import Path

from command import tidegate

PAGE = Path(__file__).parents[2] / "docs/own-script.md"


def test_the_script_of_the_page(compiled, tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "own.py").write_text(script, encoding="utf-8")
    done = subprocess.run([sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"(.*)% right, (.*)x fewer weight reads, Θ \[\d+, \d+\]\n", done.stdout)
    assert found and float(found[1]) > 97 and 7 < float(found[2]) < 9, done.stdout
    commands = re.findall(r"^tidegate (.*tones.*)$", text, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["verify", "fit"]
    for command in commands:
        words = [str(tmp_path / word) if word in ("tones.tidegate", "frames") else word for word in command.split()]
        done = tidegate(*words)
        assert done.returncode == 0, done.stderr
        assert words[0] != "verify" or " 0 mismatches" in done.stdout
