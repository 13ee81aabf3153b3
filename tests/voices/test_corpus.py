"""The folder of near words: what it holds, that a stopped run goes on, and what is refused."""

import json
import shutil
from random import Random

import numpy as np
import pytest
import soundfile

from tidegate.spec.errors import TidegateError
from tidegate.train.data.folders import scan
from tidegate.voices import speech
from tidegate.voices.corpus import KEYWORDS, MANIFEST, README, SENTENCES, Wanted, make
from tidegate.voices.lexicon import Lexicon
from tidegate.voices.speech import RATE, Manner, Voice, cast, manner, say, trim

WAYS = {"left": "L EH F T", "lift": "L IH F T", "loft": "L AO F T", "laughed": "L AE F T", "go": "G OW",
        "goat": "G OW T", "grow": "G R OW", "house": "HH AW S", "garden": "G AA R D AH N", "river": "R IH V ER"}
WORDS = Lexicon({w: (tuple(p.split()),) for w, p in WAYS.items()}, [w for w in WAYS if w != "left"],
                ["The house is old.", "We go home.", "The river is deep."], ["a river", "go home"])
WANTED = Wanted(("left", "go"), near=4, other=2, voices=6, sentences=0.2)


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_of_words(speaker, tmp_path):
    seen = []
    made = make(WANTED, tmp_path / "near", WORDS, lambda done, total: seen.append((done, total)))
    manifest = json.loads((tmp_path / "near" / MANIFEST).read_text())
    assert manifest["keywords"] == ["left", "go"] and manifest["programs"] == {"espeak-ng": "9.9"}
    folders = [w["folder"] for w in manifest["words"]]
    assert {"lift", "loft", "grow"} & set(folders) and "left-part-eh-f-t" in folders and len(folders) == made.words
    assert {w["folder"] for w in manifest["words"] if w["kind"] == "other"} <= {"a_river", "house", "garden", "river"}
    assert seen[made.words - 1] == (made.words, made.words) and seen[-1] == (12, 12)

    data = scan(tmp_path / "near")          # as training reads it
    assert set(data.labels) == set(folders) and len(data.clips) == made.clips == 6 * made.words
    speakers = {c.speaker for c in data.clips}
    assert speakers <= {v.speaker for v in speech.voices(("espeak-ng",))} and len(speakers) > 20
    assert {c.part for c in data.clips} == {"train", "validation", "test"}
    for clip in data.clips[:10]:
        samples, rate = soundfile.read(data.root / clip.path)
        assert rate == RATE and samples.ndim == 1
        loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
        assert loud[0] < 0.11 * RATE and len(samples) - loud[-1] < 0.11 * RATE   # of 0.5 s

    spoken = list((tmp_path / "near" / SENTENCES).glob("*/*.flac"))
    assert len(spoken) == made.sentences and {p.name[:3] for p in spoken} == {"000", "001"}     # none with "go"
    assert sum(soundfile.info(p).duration for p in spoken) / 60 == pytest.approx(made.minutes) and made.minutes >= 0.2
    text = (tmp_path / "near" / README).read_text()
    assert "Generated speech" in text and "espeak-ng 9.9" in text and "licence" in text
    calls = (speaker / "calls").read_text()
    assert "[['Eft]]" in calls and "[[lEft]]" not in calls and " left\n" not in calls


def test_the_keywords_themselves(speaker, tmp_path):
    folder = tmp_path / "near"
    made = make(Wanted(("left", "go"), near=2, other=0, voices=3, spoken=7), folder, WORDS)
    spoken = sorted(p.parts[-3] for p in (folder / KEYWORDS).rglob("*.flac"))
    assert spoken == ["go"] * 7 + ["left"] * 7 and (made.spoken, made.clips) == (14, 3 * made.words)
    assert not {"go", "left"} & {p.name for p in folder.iterdir()}
    assert "7 clips of each, in `_keywords_`" in (folder / README).read_text()
    with pytest.raises(TidegateError, match="--flat makes recordings of other words, --spoken of keywords"):
        Wanted(("go",), spoken=1, flat=True)


def test_words_that_are_too_near_are_left_out(speaker, tmp_path):
    kept = []
    for least in (0.0, 0.6):
        make(Wanted(("left", "go"), near=6, other=2, voices=1, least=least), tmp_path / str(least), WORDS)
        kept.append({w["folder"]: w.get("distance", 9) for w in json.loads(
            (tmp_path / str(least) / MANIFEST).read_text())["words"]})
    assert kept[1] == {name: distance for name, distance in kept[0].items() if distance >= 0.6} != kept[0]


def test_one_seed_one_folder_and_a_stopped_run_goes_on(speaker, tmp_path):
    make(WANTED, tmp_path / "a", WORDS)
    whole, calls = files(tmp_path / "a"), len((speaker / "calls").read_text().splitlines())
    (speaker / "calls").unlink()
    (speaker / "broken").write_text("20")
    with pytest.raises(TidegateError, match=r"espeak-ng failed \(Error: no such voice\); .* goes on where it stopped"):
        make(WANTED, tmp_path / "b", WORDS)
    stopped = files(tmp_path / "b")
    assert {p: whole[p] for p in stopped} == stopped and len(stopped) == 21         # 20 clips and the manifest
    (speaker / "broken").unlink()
    (speaker / "calls").unlink()
    make(WANTED, tmp_path / "b", WORDS)
    assert files(tmp_path / "b") == whole
    assert len((speaker / "calls").read_text().splitlines()) == calls - 20          # nothing is spoken twice
    make(Wanted(("left", "go"), near=1, other=0, voices=6, seed=1), tmp_path / "c", WORDS)
    assert set(files(tmp_path / "c")) & set(whole) <= {MANIFEST, README}


def test_the_folder_unknown_of_ones_own_words(speaker, tmp_path):
    for word in ("left", "go"):
        for k in range(30):
            path = tmp_path / word / f"{word}_ann{k}_0.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, np.full(RATE, 0.01 * (k + 1)), RATE)
    wanted = Wanted(("left", "go"), near=3, other=1, voices=2, flat=True)
    made = make(wanted, tmp_path / "unknown", WORDS)
    data = scan(tmp_path, unknown="auto", silence="auto")
    unknown = [c for c in data.clips if c.label == "unknown"]
    assert data.labels == ("go", "left", "unknown", "silence") and len(unknown) == made.clips == 2 * made.words
    assert {c.speaker for c in unknown} <= {v.speaker for v in speech.voices(("espeak-ng",))}
    for clip in unknown[:5]:
        samples, _ = soundfile.read(tmp_path / clip.path)
        loud = np.flatnonzero(np.abs(samples) > 0.1 * np.abs(samples).max())
        assert len(samples) == RATE and np.count_nonzero(samples[:100]) > 50
        assert abs((loud[0] + loud[-1]) / 2 - RATE / 2) < 0.02 * RATE


def test_folders_that_are_refused(speaker, tmp_path):
    make(Wanted(("go",), near=2, other=0, voices=2), tmp_path / "near", WORDS)
    before = files(tmp_path / "near")
    with pytest.raises(TidegateError, match="made with other settings or programs; choose another"):
        make(Wanted(("go",), near=2, other=0, voices=3), tmp_path / "near", WORDS)
    assert files(tmp_path / "near") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/left.wav").write_text("a recording")
    for folder in (tmp_path / "mine", tmp_path / "mine/left.wav"):
        with pytest.raises(TidegateError, match="is there and holds something else; choose a new folder"):
            make(WANTED, folder, WORDS)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["left.wav"]
    with pytest.raises(TidegateError, match=r"cannot write to .*; choose another folder"):
        make(WANTED, tmp_path / "mine/left.wav/near", WORDS)


def test_programs_that_cannot_be_used(speaker, tmp_path, monkeypatch):
    (speaker / "silent").touch()
    with pytest.raises(TidegateError, match=r"espeak-ng says nothing to '.*' with the voice en-"):
        make(WANTED, tmp_path / "near", WORDS)
    assert not list((tmp_path / "near").rglob("*.flac*"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TidegateError, match=r"no program here speaks; install one .* `apt install espeak-ng flite`"):
        make(WANTED, tmp_path / "none", WORDS)
    assert not (tmp_path / "none").exists()


def test_settings_and_texts_out_of_range(speaker, tmp_path):
    for wrong, text in (({"near": 0}, "--near must be 1 to 500, not 0"), ({"voices": 1000}, "--voices must be 1 to "),
                        ({"other": -1}, "--other must be 0 to 3000"),
                        ({"sentences": float("nan")}, "--sentences must be 0 to 6000, not nan")):
        with pytest.raises(TidegateError, match=text):
            Wanted(("left",), **wrong)
    every = Lexicon(WORDS.ways, WORDS.by_frequency, ["They go home."], [])
    with pytest.raises(TidegateError, match="each of the bundled sentences holds one of the keywords"):
        make(Wanted(("go",), near=1, other=0, voices=1, sentences=1), tmp_path / "near", every)


def test_a_cast_of_voices(speaker):
    both = cast(("espeak-ng",), 30, Random(1))
    assert len(set(both)) == 30 and cast(("espeak-ng",), 30, Random(1)) == both
    assert {v.name.split("+")[0] for v in speech.voices(("espeak-ng",))} == {"en-us", "en-gb"}     # accents it lacks
    assert len(cast(("espeak-ng",), 100, Random(1))) == 100            # more than there are: some speak twice
    ways = {str(manner(both[0], Random(k))) for k in range(50)}
    assert len(ways) > 40


def test_trim():
    sound = np.zeros(RATE, np.float32)
    assert len(trim(sound)) == 0 and len(trim(sound[:0])) == 0
    sound[4000:8000] = 0.5
    sound[9000] = 0.001                                                 # -54 dB against it: nothing
    assert len(trim(sound)) == pytest.approx(4000 + 2 * 0.08 * RATE, abs=320)
    assert trim(sound[4000:8000]).tolist() == sound[4000:8000].tolist()


REAL = (Voice("espeak-ng", "en-gb+f3"), Voice("espeak-ng", "en-us+m7"), Voice("flite", "slt"), Voice("flite", "kal16"))


@pytest.mark.parametrize("voice", REAL, ids=lambda v: v.speaker)
def test_the_real_programs(voice, tmp_path):
    """Words and phones; twice the same; slower is longer; the level that was asked for."""
    if not shutil.which(voice.program):
        pytest.skip(f"{voice.program} is not installed")
    speech.voices.cache_clear()
    assert voice in speech.voices((voice.program,)) and speech.program_version(voice.program)[0].isdigit()
    slow, fast = speech._SPEED if voice.program == "espeak-ng" else speech._FLITE_SPEED
    long = say("floor", voice, Manner(90, slow, -6.0), tmp_path)
    assert np.abs(long).max() == pytest.approx(10 ** (-6 / 20), rel=1e-4) and long.dtype == np.float32
    assert np.array_equal(say("floor", voice, Manner(90, slow, -6.0), tmp_path), long)
    assert 0.2 * RATE < len(say("floor", voice, Manner(90, fast, -6.0), tmp_path)) < 0.8 * len(long)
    part = say("left-part-eh-f-t", voice, Manner(90, slow, -6.0), tmp_path, ("EH", "F", "T"))
    assert 0.15 * RATE < len(part) < 1.2 * RATE
