"""``tidegate data near-words`` as a user calls it."""

import json
import shutil

import pytest
from command import fails, tidegate

from tidegate.train.data.folders import scan


@pytest.mark.skipif(not shutil.which("espeak-ng") and not shutil.which("flite"),
                    reason="neither espeak-ng nor flite is installed")
def test_near_words(tmp_path):
    ask = ("data", "near-words", "--near", 4, "--other", 2, "--voices", 5, "--sentences", 0.05, "--out")
    done = tidegate(*ask, tmp_path / "near", "--keywords", "left, Up", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    data = scan(tmp_path / "near")
    assert len(data.clips) == made["clips"] == 5 * made["words"] and len(data.labels) == made["words"] >= 8
    assert made["minutes"] >= 0.05 and len(list((tmp_path / "near/_sentences_").rglob("*.flac"))) == made["sentences"]
    fails(tidegate(*ask, tmp_path / "near", "--keywords", "left"), "made with other settings or programs")


def test_the_words_of_a_model(tmp_path):
    """The model ``digits`` has labels 0 to 9; none of its words is spoken, and none that sounds the same."""
    if not shutil.which("espeak-ng"):
        pytest.skip("espeak-ng is not installed")
    out = tmp_path / "near"
    few = ("--near", 3, "--other", 1, "--voices", 1)
    done = tidegate("data", "--json", "near-words", "--model", "digits", *few, "--out", out)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((out / "near-words.json").read_text())
    digits = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert manifest["keywords"] == digits
    assert not {w["folder"] for w in manifest["words"]} & {*digits, "won", "to", "too", "for", "ate"}


def test_what_is_refused(tmp_path):
    ask = ("data", "near-words", "--out", tmp_path / "near")
    fails(tidegate(*ask), "near to what? give --keywords")
    fails(tidegate(*ask, "--keywords", "left", "--model", "commands"), "one of them")
    fails(tidegate(*ask, "--keywords", ","), "no keywords")
    fails(tidegate(*ask, "--model", "nothing"), "no model 'nothing'")
    fails(tidegate(*ask, "--keywords", "left", "--voices", 0), "--voices must be 1 to ")
    assert not (tmp_path / "near").exists()
    fails(tidegate(*ask, "--keywords", "blorf"), "the dictionary has no word 'blorf'")
    assert not (tmp_path / "near").exists()


def test_data_sets_are_still_names(tmp_path):
    """``data`` takes any other name for a data set, with its options before or after the name."""
    fails(tidegate("data", "letters", "--to", tmp_path), "no data set 'letters'; choose fsdd or ")
    (tmp_path / "fsdd").mkdir()
    to = ("--to", tmp_path)
    for arguments in ((*to, "fsdd", "--json"), (*to, "--json", "fsdd"), ("fsdd", "--json", *to)):
        done = tidegate("data", *arguments)
        assert json.loads(done.stdout) == {"name": "fsdd", "folder": str(tmp_path / "fsdd")}, done.stderr
