"""Terminals, locales and file names that are not UTF-8: everything works, and what is stored is UTF-8."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import COMMAND, write_sound

from tidegate import zoo
from tidegate.spec.model import read_model

ASCII = {"PYTHONIOENCODING": "ascii"}
LATIN = {"PYTHONIOENCODING": "latin-1"}
C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}      # ASCII for files and their names, too
WORD = "größe"
RATE = 8000


def run(settings, *arguments) -> subprocess.CompletedProcess:
    """The command with an environment; its output as bytes."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "PYTHON")) and k != "LANG"}
    done = subprocess.run([*COMMAND, *map(os.fsencode, map(str, arguments))], capture_output=True, timeout=300,
                          env=environment | {"NO_COLOR": "1"} | settings)
    assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    return done


@pytest.mark.parametrize("settings", [ASCII, LATIN, C], ids=["ascii", "latin-1", "C"])
@pytest.mark.parametrize("arguments", [("models",), ("--help",), ("run", "--help"), ("fit", "commands"), ("boards",)])
def test_text_on_a_terminal_that_lacks_characters(settings, arguments):
    done = run(settings, *arguments)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("latin-1" if settings is LATIN else "ascii")
    if arguments == ("models",):
        assert r"\u0398 / 256" in text and set(zoo.names()) <= set(text.split())


@pytest.mark.parametrize("settings", [ASCII, LATIN, C], ids=["ascii", "latin-1", "C"])
def test_json_is_the_same_on_every_terminal(settings):
    done = run(settings, "models", "--json")
    assert done.returncode == 0 and done.stderr == b""
    assert json.loads(done.stdout) == json.loads(run({}, "models", "--json").stdout)


def write_words(folder: Path) -> None:
    """Two words, one of them not ASCII, of tones; a clip of each has a name that is not UTF-8."""
    rng = np.random.default_rng(5)
    for name, hertz in ((WORD, 400), ("low", 1200)):
        (folder / name).mkdir(parents=True)
        for k in range(12):
            path = folder / name / (os.fsdecode(b"gr\xf6\xdfe_nohash_0.wav") if k == 7 else f"{k:04x}_nohash_0.wav")
            phase = 2 * np.pi * hertz * rng.uniform(0.95, 1.05) * np.arange(RATE // 2) / RATE
            with open(path, "wb") as file:
                soundfile.write(file, 0.3 * np.sin(phase) + rng.normal(0, 1e-3, len(phase)), RATE, format="WAV")


RECIPE = {"name": "tiny", "unknown": "none", "silence": "none", "gru": [8], "thresholds": [16, 16], "epochs": 2,
          "keywords": [], "frontend": {"sample_rate": RATE, "bands": 12, "high_hz": 3800.0, "hop_ms": 32.0}}


@pytest.mark.parametrize("settings", [{}, C], ids=["UTF-8", "C"])
def test_words_and_clips_with_any_name_are_trained_on_and_judged(tmp_path, settings):
    words, model, recipe = tmp_path / "words", tmp_path / "m.tidegate", tmp_path / "recipe.json"
    write_words(words)
    recipe.write_text(json.dumps(RECIPE | {"keywords": [WORD, "low"]}, ensure_ascii=False), encoding="utf-8")
    settings = settings | {"TIDEGATE_CACHE": str(tmp_path / "cache")}
    done = run(settings, "train", words, "--recipe", recipe, "--out", model, "--json")
    assert done.returncode == 0, done.stderr.decode()
    survey = json.loads(done.stdout)["data"]
    assert survey["skipped"] == [] and set(survey["clips"]) == {WORD, "low"}
    assert sum(n for of in survey["clips"].values() for n in of.values()) == 24
    assert read_model(model).labels == (WORD, "low") and read_model(model).card["recipe"]["keywords"] == [WORD, "low"]
    done = run(settings, "eval", model, "--data", words, "--json")
    assert done.returncode == 0, done.stderr.decode()
    assert set(json.loads(done.stdout)["recall"]) == {WORD, "low"}


def test_parts_and_labels_do_not_depend_on_the_locale(tmp_path):
    """Scanned in a process with the C locale and in one with UTF-8: the same clips are in the same parts."""
    write_words(tmp_path / "words")
    (tmp_path / "words/validation_list.txt").write_bytes(f"{WORD}/0003_nohash_0.wav\n".encode() + b"low/gr\xf6\xdfe"
                                                         b"_nohash_0.wav\n")
    program = ("import os, sys; from tidegate.train.data.folders import scan\n"
               "for c in scan(sys.argv[1]).clips:\n"
               "    print(ascii((os.fsencode(c.path), c.label, c.folder, c.part, c.speaker)))")
    found = []
    for settings in ({}, C):
        command = [COMMAND[0], "-c", program, str(tmp_path / "words")]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "PYTHON")) and k != "LANG"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment | settings)
        found.append(sorted(done.stdout.splitlines()))
    assert found[0] == found[1] and len(found[0]) == 24
    assert sum("'validation'" in line for line in found[0]) == 2


@pytest.mark.parametrize("settings", [{}, ASCII, C], ids=["UTF-8", "ascii", "C"])
def test_a_recording_whose_name_is_not_utf8(device, model, tmp_path, settings):
    name = tmp_path / os.fsdecode(b"gr\xf6\xdfe.wav")
    write_sound(tmp_path / "x.wav").rename(name)
    model = model.rename(tmp_path / os.fsdecode(b"m\xf6.tidegate"))
    done = run(settings, "run", name, "--model", model, "--board", device.port)
    assert done.returncode == 0 and done.stderr == b"" and len(done.stdout.splitlines()) == 1
    done = run(settings, "run", name, "--model", model, "--board", device.port, "--json")
    assert os.fsencode(json.loads(done.stdout)["files"][0]["file"]) == os.fsencode(name)
    done = run(settings, "run", name.with_suffix(".flac"), "--model", model, "--board", device.port)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"no sound file" in done.stderr
