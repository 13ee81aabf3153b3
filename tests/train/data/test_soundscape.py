from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from tidegate.host.audio import read_audio
from tidegate.host.frontend import FrontEndSettings
from tidegate.train.data.background import recorded_loops, synthetic_loop
from tidegate.train.data.compose import make_stream, word_bounds
from tidegate.train.data.folders import PARTS, Clip, DataSet, scan
from tidegate.train.data.sounds import loudness
from tidegate.train.data.soundscape import EVERY, NOISE, SPEECH, Scene, Sources
from tidegate.train.errors import DataError

RATE = 8000                         # of the clips that the fixture writes
SETTINGS = FrontEndSettings(sample_rate=RATE, high_hz=3800.0, bands=12, hop_ms=32.0, window_ms=32.0)
HOURS = 16 * 12 / 3600              # 12 s a track
BUSY = Scene(pause_s=(0.6, 1.2), stretch_s=(2.0, 5.0))


@pytest.fixture(scope="module")
def data(write_words):
    return scan(write_words(clips=40, noise=True), ("low", "high"))


MIXED = Scene(pause_s=(0.6, 1.2), stretch_s=(2.0, 5.0), passage_s=4.0, speech_share=0.4, noise_share=0.2)
TALK_HZ = {"dutch": 700, "english": 1300}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two "voices" that hum, one of them in a long file; noise that hisses; a room with an echo."""
    root, rng = tmp_path_factory.mktemp("sources"), np.random.default_rng(5)
    t = np.arange(int(2.0 * RATE)) / RATE
    for name in ("talk/dutch", "hiss", "rooms"):
        (root / name).mkdir(parents=True)
    (root / "talk/english").mkdir()
    for k in range(6):
        soundfile.write(root / f"talk/dutch/{k}.wav", 0.01 * np.sin(2 * np.pi * 700 * t), RATE, subtype="FLOAT")
    long = np.arange(60 * RATE) / RATE
    soundfile.write(root / "talk/english/book.flac", 0.5 * np.sin(2 * np.pi * 1300 * long), RATE)
    for k in range(3):
        soundfile.write(root / f"hiss/{k}.wav", rng.normal(0, 0.1, 3 * RATE), RATE)
    echo = np.zeros(RATE // 2, np.float32)
    echo[[0, 2400]] = 1.0, 0.7
    soundfile.write(root / "rooms/echo.wav", echo, RATE, subtype="FLOAT")
    return root


def sources(folders, **kwargs):
    return Sources.of([folders / "talk"], [folders / "hiss"], **kwargs)


def sound(track):
    return np.concatenate(list(track.audio()))


def power(samples, hz):
    """Share of the power within 20 Hz of a frequency."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    near = np.abs(np.fft.rfftfreq(len(samples), 1 / RATE) - hz) < 20
    return spectrum[near].sum() / spectrum.sum()


def test_the_same_seed_gives_the_same_sound(data):
    one, two, other = (make_stream(data, "validation", SETTINGS, HOURS, seed, BUSY) for seed in (3, 3, 4))
    assert one.hours == pytest.approx(HOURS) and len(one.tracks) == 16
    assert [t.words for t in one.tracks] == [t.words for t in two.tracks]
    for a, b in list(zip(one.tracks, two.tracks, strict=True))[::5]:
        assert np.array_equal(sound(a), sound(b))
        assert len(sound(a)) == a.samples == 12 * RATE and sound(a).dtype == np.float32
    assert one.tracks[0].words != other.tracks[0].words
    assert not np.array_equal(sound(one.tracks[0]), sound(one.tracks[1]))


@pytest.mark.parametrize("part", PARTS[1:])
def test_words_are_of_the_part_and_each_comes_once_before_any_comes_again(data, part):
    stream = make_stream(data, part, SETTINGS, HOURS, 1, BUSY)
    words = [word for track in stream.tracks for word in track.words]
    of = {clip.path: clip for clip in data.clips}
    assert all((of[w.path].part, of[w.path].label) == (part, w.label) for w in words)
    for group in (("low", "high"), ("unknown",)):
        there = sum(clip.part == part and clip.label in group for clip in data.clips)
        times = Counter(w.path for w in words if w.label in group)
        assert len(times) == there and max(times.values()) - min(times.values()) <= 1 < max(times.values())
    assert 0.35 < sum(w.label == "unknown" for w in words) / len(words) < 0.65
    share = make_stream(data, part, SETTINGS, HOURS, 1, Scene(BUSY.pause_s, keyword_share=1.0))
    assert all(w.label != "unknown" for track in share.tracks for w in track.words)


def test_words_are_where_the_truth_says(data):
    scene = Scene(BUSY.pause_s, snr_db=(60, 60))
    for track in make_stream(data, "validation", SETTINGS, HOURS, 1, scene).tracks[:4]:
        heard, inside = sound(track), np.zeros(track.samples, bool)
        assert len(track.words) >= 5
        for word in track.words:
            a, b = round(word.start_s * RATE), round(word.end_s * RATE)
            inside[a:b] = True
            tone = {"low": 300, "high": 2000}.get(word.label)
            if tone:
                spectrum = np.abs(np.fft.rfft(heard[a:b]))
                assert abs(np.argmax(spectrum) * RATE / (b - a) - tone) < 0.06 * tone
        assert heard[inside].std() > 20 * heard[~inside].std()
        gaps = np.array([w.start_s for w in track.words[1:]]) - np.array([w.end_s for w in track.words[:-1]])
        assert (gaps > 0.6 - 1e-6).all() and track.samples / RATE - track.words[-1].end_s >= 0.6


def test_bounds_of_a_word():
    clip = np.zeros(8000)
    clip[2000:4800] = 0.5
    clip[2400:2480] = 0
    clip[6000:6080] = 0.049
    assert word_bounds(clip, RATE) == (2000, 4800)
    clip[6000:6080] = 0.051
    assert word_bounds(clip, RATE) == (2000, 6080)
    assert word_bounds(np.zeros(500), RATE) == (0, 480) and word_bounds(np.zeros(10), RATE) == (0, 10)


def test_background_is_at_its_ratio_to_the_typical_word(data):
    scene = Scene(BUSY.pause_s, gain_db=(0, 0), snr_db=(15, 15))
    stream = make_stream(data, "validation", SETTINGS, HOURS, 1, scene)
    loud = []
    for track in stream.tracks:
        for slot in track.slots:
            clip = slot.factor * read_audio(slot.path, RATE)
            a, b = word_bounds(clip, RATE)
            loud.append(clip[a:b].std())
    quiet = [sound(track)[: int(track.words[0].start_s * RATE) - 400].std() for track in stream.tracks]
    assert 20 * np.log10(np.median(loud) / np.median(quiet)) == pytest.approx(15, abs=0.5)


def test_background_is_the_parts_share_of_the_recordings(tmp_path):
    (tmp_path / "_background_noise_").mkdir()
    t = np.arange(20 * RATE) / RATE
    hz = np.where(t < 16, 500.0, np.where(t < 18, 1000.0, 2000.0))
    noise = 0.01 * np.sin(2 * np.pi * np.cumsum(hz) / RATE)
    soundfile.write(tmp_path / "_background_noise_" / "tones.wav", noise, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "_background_noise_" / "still.wav", 0 * noise, RATE)
    (tmp_path / "_background_noise_" / "broken.wav").write_text("no sound")
    names = tuple(f"_background_noise_/{x}.wav" for x in ("broken", "still", "tones"))
    clips = (Clip("a/0.wav", "a", "validation"), Clip("a/1.wav", "a", "test"))
    data = DataSet(tmp_path, ("a", "silence"), clips, names)
    for part, tone in (("validation", 1000), ("test", 2000)):
        (loop,) = recorded_loops(data, part, SETTINGS)
        assert power(loop, tone) > 0.99 and power(loop, 500) < 1e-4 and loop.std() == pytest.approx(1, rel=0.01)
    no_test = DataSet(tmp_path, data.labels, data.clips[:1], names)
    (loop,) = recorded_loops(no_test, "validation", SETTINGS)
    assert power(loop, 1000) > 0.3 and power(loop, 2000) > 0.3 and power(loop, 500) < 1e-4


def test_there_are_no_clicks(tmp_path):
    """Clips that begin and end with a step, and recordings whose ends do not meet."""
    (tmp_path / "_background_noise_").mkdir()
    for name, hz in (("slow", 3.3), ("slower", 2.1)):
        hum = 0.01 * np.sin(2 * np.pi * hz * np.arange(20 * RATE) / RATE)
        soundfile.write(tmp_path / "_background_noise_" / f"{name}.wav", hum, RATE, subtype="FLOAT")
    (tmp_path / "step").mkdir()
    clips = [Clip(f"step/{k}.wav", "step", "validation") for k in range(3)]
    for clip in clips:
        soundfile.write(tmp_path / clip.path, np.full(3000, 0.5), RATE)
    data = DataSet(tmp_path, ("step", "silence"), tuple(clips),
                   ("_background_noise_/slow.wav", "_background_noise_/slower.wav"))
    stream = make_stream(data, "validation", SETTINGS, HOURS, 1, Scene(BUSY.pause_s, snr_db=(6, 20), stretch_s=(1, 3)))
    for track in stream.tracks[:6]:
        assert np.abs(np.diff(sound(track))).max() < 0.01       # 1 / (20 ms · 8 kHz), and a little for the hum


def test_without_recordings_the_background_is_made_up(write_words):
    data = scan(write_words(clips=40))
    stream = make_stream(data, "validation", SETTINGS, HOURS, 1, BUSY)
    assert stream.synthetic and {w.label for track in stream.tracks for w in track.words} == {*data.labels}
    assert sound(stream.tracks[0])[: RATE // 4].std() > 0
    loop = synthetic_loop(SETTINGS, np.random.default_rng(1))
    assert loop.std() == pytest.approx(1, rel=1e-3) and abs(loop[0] - loop[-1]) < 6 * np.diff(loop).std()


def test_clips_that_cannot_be_used_are_listed(write_words, data):
    root = write_words(("low", "high"), clips=40)
    broken = [clip for clip in scan(root).clips if clip.part == "validation"]
    (root / broken[0].path).write_text("no sound")
    stream = make_stream(scan(root), "validation", SETTINGS, HOURS, 1, BUSY)
    assert [path for path, _ in stream.skipped] == [broken[0].path] and "cannot be read" in stream.skipped[0][1]
    assert broken[0].path not in {w.path for track in stream.tracks for w in track.words}
    for clip in broken:
        (root / clip.path).write_text("no sound")
    with pytest.raises(DataError, match=r"none of the keywords.*cannot be read"):
        make_stream(scan(root), "validation", SETTINGS, HOURS, 1, BUSY)


def test_what_cannot_be_made_is_one_line(data):
    with pytest.raises(DataError, match="not trained on: its part is validation, test, or all"):
        make_stream(data, "train", SETTINGS)
    with pytest.raises(DataError, match="no room for a word"):
        make_stream(data, "validation", SETTINGS, 16 / 3600)
    rest = DataSet(data.root, data.labels, tuple(c for c in data.clips if c.part != "test"), data.noise)
    with pytest.raises(DataError, match="no keywords in its test part"):
        make_stream(rest, "test", SETTINGS)


def test_speech_and_noise_get_their_share_of_the_time(data, folders):
    stream = make_stream(data, "validation", SETTINGS, 0.5, 1, MIXED, sources(folders))
    spent = Counter()
    for track in stream.tracks:
        ends = sorted([(x.start_s, x.end_s) for x in (*track.words, *track.spans)])
        assert all(a[1] < b[0] for a, b in pairwise(ends))
        assert ends[-1][1] <= track.samples / RATE - 0.6
        for span in track.spans:
            spent[span.kind] += span.end_s - span.start_s
    hours = {kind: seconds / 3600 for kind, seconds in spent.items()}
    assert 0.28 < hours[SPEECH] / 0.5 < 0.42 and 0.12 < hours[NOISE] / 0.5 < 0.22      # the pauses are in the share
    assert {name for name in stream.played} == {"speech/dutch", "speech/english", "noise/hiss"}
    assert sum(p[2] for n, p in stream.played.items() if n.startswith("speech")) == pytest.approx(hours[SPEECH])
    assert stream.played["speech/english"][:2] == pytest.approx((1, 60 / 3600)) and not stream.synthetic
    # the long voice has five times as much to say, and what there is comes round evenly
    assert stream.played["speech/english"][2] > 3 * stream.played["speech/dutch"][2]


def test_speech_is_where_the_truth_says_and_as_loud_as_words(data, folders):
    scene = Scene(pause_s=(0.6, 1.2), passage_s=4.0, gain_db=(0, 0), snr_db=None, noise_db=(12, 12))
    stream = make_stream(data, "validation", SETTINGS, HOURS, 2, scene, sources(folders))
    words, talk, noise = [], [], []
    for track in stream.tracks:
        heard, inside = sound(track), np.zeros(track.samples, bool)
        for x in (*track.words, *track.spans):
            a, b = round(x.start_s * RATE), round(x.end_s * RATE)
            inside[a - RATE // 10 : b + RATE // 10] = True
            kind = getattr(x, "kind", "word")
            {"word": words, SPEECH: talk, NOISE: noise}[kind].append(loudness(heard[a:b], RATE))
            if kind == SPEECH:
                assert power(heard[a : a + RATE], TALK_HZ[x.source]) > 0.95
        assert not heard[~inside].any()         # no background
    assert len(talk) > 5 and np.allclose(talk, np.median(words), rtol=0.05)
    assert np.allclose(noise, np.median(words) * 10 ** (-12 / 20), rtol=0.1)


def test_words_at_one_level_in_a_background_at_one_ratio(data):
    scene = Scene(BUSY.pause_s, snr_db=None, level=True)
    stream = make_stream(data, "validation", SETTINGS, HOURS, 1, scene)
    levels = []
    for track in stream.tracks:
        heard = sound(track)
        for word in track.words:
            levels.append(loudness(heard[round(word.start_s * RATE) : round(word.end_s * RATE)], RATE))
    assert np.std(levels) < 0.03 * np.mean(levels)
    plain = make_stream(data, "validation", SETTINGS, HOURS, 1, Scene(BUSY.pause_s, snr_db=None))
    assert [w.path for t in plain.tracks for w in t.words] == [w.path for t in stream.tracks for w in t.words]


def test_words_in_a_room(data, folders):
    scene = Scene(BUSY.pause_s, snr_db=None)
    dry = make_stream(data, "validation", SETTINGS, HOURS, 1, scene)
    wet = make_stream(data, "validation", SETTINGS, HOURS, 1, scene, Sources.of(rooms=folders / "rooms"))
    for a, b in list(zip(dry.tracks, wet.tracks, strict=True))[:5]:
        assert a.words == b.words
        one, other = sound(a), sound(b)
        for word in a.words:
            begin, end = round(word.start_s * RATE), round(word.end_s * RATE)
            after = slice(begin + 2400 + 200, end + 2400 - 200)       # where the echo is, and the word may be over
            if end < begin + 2400:
                assert np.abs(one[after]).max() < 0.02 < np.abs(other[after]).max()
            assert np.corrcoef(one[begin : begin + 2000], other[begin : begin + 2000])[0, 1] > 0.99


def test_other_words_of_other_folders(data, folders):
    other = Sources.of(others=[folders / "talk/dutch"])
    stream = make_stream(data, "validation", SETTINGS, HOURS, 1, BUSY, other)
    paths = {w.path for t in stream.tracks for w in t.words if w.label == "unknown"}
    assert any(path.startswith(str(folders)) for path in paths) and any(path.startswith("fall") for path in paths)


def test_a_corpus_for_tests_only(data):
    """Nothing of it trains: all of its clips are heard."""
    stream = make_stream(data, EVERY, SETTINGS, 0.5, 1, Scene((0.6, 1.2), keyword_share=1.0))
    assert len({w.path for t in stream.tracks for w in t.words}) == 80
    test = DataSet(data.root, data.labels, tuple(c for c in data.clips if c.part == "test"), ())
    assert make_stream(test, "test", SETTINGS, HOURS, 1, BUSY).synthetic


def test_recordings_that_cannot_be_heard_are_listed(data, folders, tmp_path):
    (tmp_path / "talk").mkdir()
    whole = (folders / "talk/english/book.flac").read_bytes()
    (tmp_path / "talk/cut.flac").write_bytes(whole[: len(whole) // 50] + bytes(1000))
    with pytest.raises(DataError, match="none of the recordings of speech can be used"):
        make_stream(data, "validation", SETTINGS, 0.3, 1, MIXED, Sources.of([tmp_path / "talk"]))
    soundfile.write(tmp_path / "talk/good.wav", 0.1 * np.sin(np.arange(5 * RATE) * 0.5), RATE)
    stream = make_stream(data, "validation", SETTINGS, 0.3, 1, MIXED, Sources.of([tmp_path / "talk"]))
    assert [path.rpartition("/")[2] for path, _ in stream.skipped] == ["cut.flac"]
    assert {slot.path.name for t in stream.tracks for slot in t.slots if slot.seconds} == {"good.wav"}


def test_many_recordings_that_cannot_be_heard(data, folders, tmp_path):
    """More than Python's functions may be nested in each other, and a recording of which the beginning can be read."""
    (tmp_path / "talk").mkdir()
    whole = (folders / "talk/english/book.flac").read_bytes()
    for k in range(1500):
        (tmp_path / f"talk/{k}.flac").write_bytes(whole[: len(whole) // 50] + bytes(100))
    with pytest.raises(DataError, match="none of the recordings of speech can be used"):
        make_stream(data, "validation", SETTINGS, 0.3, 1, MIXED, Sources.of([tmp_path / "talk"]))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut/book.flac").write_bytes(whole[: 8 * len(whole) // 10])
    stream = make_stream(data, "validation", SETTINGS, 0.3, 1, MIXED, Sources.of([tmp_path / "cut"]))
    assert any(slot.path.name == "book.flac" for t in stream.tracks for slot in t.slots)


@pytest.mark.parametrize("hours, seed, message", [(float("nan"), 1, "some hours long"), (-1.0, 1, "some hours long"),
                                                  (0.3, -1, "a seed is"), (0.3, 1.5, "a seed is")])
def test_hours_and_seeds_that_are_none(data, hours, seed, message):
    with pytest.raises(DataError, match=message):
        make_stream(data, "validation", SETTINGS, hours, seed)


def test_hours_that_are_too_few_say_how_many_are_needed(data):
    with pytest.raises(DataError, match=r"leave no room for a word; give (\d\.\d+) hours or more") as failed:
        make_stream(data, "validation", SETTINGS, 16 / 3600)
    hours = float(str(failed.value).rpartition("give ")[2].split()[0])
    assert len(make_stream(data, "validation", SETTINGS, hours).tracks[0].words)
