"""The helper modules of tests/host, and a program that speaks, in place of espeak-ng, where none is installed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "host"))

# a tone, the longer the text the longer, between half seconds of silence; it counts its calls in the file "calls"
SPEAKER = f"""#!{sys.executable}
import array, sys, wave
from pathlib import Path
arguments = sys.argv[1:]
here = Path(__file__).parent
if arguments == ["--version"]:
    print("eSpeak NG text-to-speech: 9.9  Data at: nowhere")
elif arguments == ["--voices=en"]:
    print("Pty Language       Age/Gender VoiceName          File                 Other Languages")
    print(" 2  en-gb           --/M      English_(Great_Britain) gmw/en               (en 2)")
    print(" 2  en-us           --/M      English_(America)  gmw/en-US            (en 3)")
else:
    with open(here / "calls", "a") as calls:
        print(*arguments, file=calls)
    count = len((here / "calls").read_text().splitlines())
    if (here / "broken").exists() and count > int((here / "broken").read_text()):
        sys.exit("Error: no such voice")
    text, rate = arguments[-1], 22050
    tone = [] if (here / "silent").exists() else ([9000] * 40 + [-9000] * 40) * (23 * len(text))
    samples = array.array("h", [0] * (rate // 2) + tone + [0] * (rate // 2))
    with wave.open(arguments[arguments.index("-w") + 1], "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
"""


@pytest.fixture
def speaker(tmp_path_factory, monkeypatch):
    """The folder of the made-up espeak-ng, the only program on the path.

    A file "silent" in it keeps it silent; a file "broken" with a number lets it fail after so many calls.
    """
    from tidegate.voices import speech

    folder = tmp_path_factory.mktemp("bin")
    (folder / "espeak-ng").write_text(SPEAKER)
    (folder / "espeak-ng").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    speech.voices.cache_clear()
    yield folder
    speech.voices.cache_clear()
