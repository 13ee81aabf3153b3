"""Listening: the words of a stream however it is cut, and an account without a hole when board or sound are lost."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_board import FakeBoard, FakeTransport
from listening import RATE, Board, Paced, logits, model, sound
from models import random_model

from tidegate.host import board as drivers
from tidegate.host.audio import AudioError
from tidegate.host.detector import Detector, DetectorSettings, listening_stop
from tidegate.host.errors import BoardError
from tidegate.host.frontend import FrontEnd
from tidegate.host.intake import Intake
from tidegate.host.listen import Listener
from tidegate.host.sources import Blocks, Piece, SoundSource
from tidegate.spec.errors import TidegateError
from tidegate.spec.stop import Stop

LOUD = (1.0, 3.0, 5.5)


def pieces(samples: np.ndarray, seed: int) -> list[np.ndarray]:
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(samples), 40))
    return np.split(samples, cuts)


def expected(samples: np.ndarray) -> list[tuple[str, int]]:
    frames = model().quantise(FrontEnd().accept(samples))
    return [(d.label, d.frame) for d in Detector.of(model()).accept(np.array([logits(f) for f in frames]))]


def balanced(totals) -> bool:
    return (totals.delivered == pytest.approx(totals.heard + totals.lost + totals.left, abs=1e-9)
            and min(totals.heard, totals.lost, totals.left) >= 0)


@pytest.mark.parametrize("seed", range(3))
def test_words_do_not_depend_on_how_the_sound_is_cut(seed):
    samples = sound(7, LOUD)
    listener = Listener(Board(), pieces(samples, seed))
    words = list(listener)
    assert [(w.label, w.frame) for w in words] == expected(samples)
    assert len(words) == 3 and all(w.label == "loud" for w in words)
    for word, at in zip(words, LOUD, strict=True):
        assert at < word.time_s < at + 0.5
    totals = listener.totals
    assert totals.frames == FrontEnd().settings.frames(len(samples)) and totals.words == 3
    assert (totals.lost, totals.frames_lost, totals.gaps) == (0, 0, 0)
    assert totals.left < 0.016 and balanced(totals)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_another_sample_rate_is_converted(rate):
    listener = Listener(Board(), Blocks(pieces(sound(7, LOUD, rate), 1), rate))
    words = list(listener)
    assert [w.label for w in words] == ["loud"] * 3
    for word, at in zip(words, LOUD, strict=True):
        assert at < word.time_s < at + 0.5
    assert balanced(listener.totals) and listener.totals.lost == 0 and listener.totals.left < 0.032


def test_a_threshold_and_settings_reach_the_detector():
    assert Listener(Board(), []).detector.stop == listening_stop(model())
    settings = DetectorSettings(smooth=2, threshold=0.7, refractory_s=1.0)
    for options in ({"settings": settings}, {"settings": replace(settings, threshold=0.9), "threshold": 0.7}):
        assert Listener(Board(), [], **options).detector.stop == listening_stop(model(), settings)
    own = replace(DetectorSettings(), threshold=0.6)
    assert Listener(Board(), [], threshold=0.6).detector.stop == listening_stop(model(), own)
    with pytest.raises(TidegateError, match=r"at least 0\.5 and below 1"):
        Listener(Board(), [], threshold=1.5)


def test_watch_sees_every_sample_frame_and_word_once():
    seen, samples = [], sound(7, LOUD)
    words = list(Listener(Board(), pieces(samples, 4), watch=seen.append))
    heard = np.concatenate([h.samples for h in seen])
    assert np.array_equal(heard, samples[: len(heard)]) and len(samples) - len(heard) < 256
    assert np.array_equal(np.concatenate([h.frames for h in seen]), model().quantise(FrontEnd().accept(samples)))
    assert all(len(h.frames) == len(h.results) for h in seen)
    assert [w for h in seen for w in h.words] == words


def test_fast_sound_goes_in_large_blocks_and_live_sound_frame_by_frame():
    fast, live = Board(), Board()
    list(Listener(fast, [sound(8)]))
    list(Listener(live, Paced(sound(1))))
    assert max(fast.sizes) > 60
    assert np.median(live.sizes) == 1


def test_a_board_lost_in_recorded_sound_costs_the_frames_under_way_only():
    """The source waits meanwhile; all that comes later is heard, at its own time."""
    notices, board = [], Board(fails=[200], away=1)
    began = time.monotonic()
    listener = Listener(board, Blocks([sound(7, LOUD)[k : k + 4000] for k in range(0, 7 * RATE, 4000)], RATE),
                        notice=notices.append)
    words = list(listener)
    assert 1 <= time.monotonic() - began < 15 and board.attempts == 2 and board.streams == 2
    totals = listener.totals
    assert balanced(totals) and totals.board_losses == 1
    due = FrontEnd().settings.frames(7 * RATE)
    assert 0 < totals.frames_lost < 70 and abs(due - totals.frames - totals.frames_lost) <= 2
    # one begins when the board is lost, and may be heard before, after, both or neither
    assert {w.stretch for w in words} == {0, 1} and all(any(at < w.time_s < at + 0.6 for at in LOUD) for w in words)
    assert 1.0 < words[0].time_s < 1.6 and 5.5 < words[-1].time_s < 6
    assert [n.kind for n in notices] == ["board-lost", "board-lost", "board-back"]      # and why it does not come back
    assert "check the cable" in notices[0].text and "trying again every second" in notices[0].text
    back = notices[2]
    assert back.sound_s == pytest.approx(totals.lost) and back.frames == totals.frames_lost
    assert f"lost {totals.lost:.2f} s of sound ({totals.frames_lost} frames)" in back.text


def test_a_board_lost_in_live_sound_costs_what_it_says():
    notices, board = [], Board(fails=[30], away=1)
    listener = Listener(board, Paced(sound(3.5, (2.8,))), notice=notices.append)
    words = list(listener)
    totals = listener.totals
    assert balanced(totals) and 0.9 < totals.lost < 2.4
    assert notices[-1].kind == "board-back" and notices[-1].sound_s == pytest.approx(totals.lost)
    assert [w.label for w in words] == ["loud"] and 2.8 < words[0].time_s < 3.3
    due = FrontEnd().settings.frames(round(3.5 * RATE))
    assert abs(due - totals.frames - totals.frames_lost) <= 3


def test_sound_that_ends_while_the_board_is_away_ends_listening():
    notices = []
    listener = Listener(Board(fails=[20], away=99), Paced(sound(1.2)), notice=notices.append)
    assert list(listener) == []
    assert "ended while the board was away" in notices[-1].text
    assert balanced(listener.totals) and listener.totals.lost > 0.7


def test_the_board_may_be_lost_again_and_again():
    board = Board(fails=[50, 120, 121, 300])
    listener = Listener(board, pieces(sound(14, LOUD), 2))
    list(listener)
    assert listener.totals.board_losses == 4 and board.streams == 5 and balanced(listener.totals)


def test_stopping_while_the_board_is_away():
    stop = threading.Event()
    listener = Listener(Board(fails=[5], away=10**6), Paced(sound(30)), stop=stop)
    threading.Timer(0.8, stop.set).start()
    began = time.monotonic()
    assert list(listener) == [] and time.monotonic() - began < 10
    assert balanced(listener.totals)


def test_a_live_source_that_outruns_the_clock_is_a_recording_and_waits():
    """9 s of sound in 3 s, for a board that takes 8 ms per frame of 16 ms."""
    notices = []
    listener = Listener(Board(pause=0.008), Paced(sound(9, (8.0,)), speed=3), notice=notices.append, queue_s=1.0)
    began = time.monotonic()
    assert [w.label for w in listener] == ["loud"]
    assert time.monotonic() - began > 4.4
    assert listener.totals.lost == 0 and balanced(listener.totals) and notices == []


def test_live_sound_is_dropped_when_nobody_takes_it():
    """20 ms per frame of 16 ms: a fifth cannot be heard."""
    notices = []
    listener = Listener(Board(pause=0.02), Paced(sound(6)), notice=notices.append, queue_s=0.5)
    list(listener)
    totals = listener.totals
    assert balanced(totals) and 0.25 <= totals.lost < 5.5 and totals.gaps == len(notices) >= 1
    assert all(n.kind == "sound-lost" and "the board is slower than the sound: lost" in n.text for n in notices)
    # what the notices say, and the ends of stretches of less than two frames each
    said = sum(n.sound_s for n in notices)
    assert said <= totals.lost <= said + 0.032 * totals.gaps
    due = FrontEnd().settings.frames(6 * RATE)
    assert abs(due - totals.frames - totals.frames_lost) <= 2 * totals.gaps + 2


def test_lost_sound_begins_a_stretch_and_keeps_the_time():
    class Holed(SoundSource):
        name, rate, live = "a source with a hole", RATE, False

        def open(self, stop):
            pass

        def pieces(self, stop):
            samples = sound(6, (1.0, 4.5))
            yield Piece(samples[: 2 * RATE])
            yield Piece(samples[4 * RATE :], 2 * RATE, "the card lost sound")

    notices = []
    listener = Listener(Board(), Holed(), notice=notices.append)
    words = list(listener)
    assert [w.stretch for w in words] == [0, 1] and 1 < words[0].time_s < 1.5 and 4.5 < words[1].time_s < 5
    assert [n.text for n in notices] == ["the card lost sound: lost 2.00 s of sound (125 frames)"]
    assert balanced(listener.totals) and 2 <= listener.totals.lost < 2.032 and listener.totals.delivered == 6


def test_a_source_that_fails_is_an_error_after_what_it_gave():
    def failing():
        yield sound(2, (1.0,))
        raise AudioError("the cable burns; put it out")

    listener, words = Listener(Board(), failing()), []
    with pytest.raises(AudioError, match="put it out"):
        for word in listener:
            words.append(word)
    assert [w.label for w in words] == ["loud"] and balanced(listener.totals)
    assert listener.totals.heard > 1.9


@pytest.mark.parametrize("samples, text", [
    (np.full(1000, np.nan, np.float32), "NaN"), (np.full(1000, 13118.0), "reach 13118"),
    (np.zeros(1000, np.uint16), "uint16"), (np.zeros((100, 3), np.float32), "3 channels"), (["x"], "type <U1")])
def test_samples_that_are_no_sound(samples, text):
    with pytest.raises(AudioError, match=text):
        list(Listener(Board(), [samples]))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float64])
def test_integers_of_full_scale_are_sound(dtype):
    samples = sound(7, LOUD)
    scale = 1 if dtype is np.float64 else -int(np.iinfo(dtype).min)
    words = list(Listener(Board(), [(np.clip(samples, -1, 0.999) * scale).astype(dtype)]))
    assert len(words) == 3


def test_leaving_the_loop_stops_the_thread():
    before = threading.active_count()
    for word in Listener(Board(), Paced(sound(30, (0.5,)))):
        assert word.label == "loud"
        break
    end = time.monotonic() + 2
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_what_cannot_listen():
    board = Board()
    board.model = None
    with pytest.raises(BoardError, match="no model is loaded"):
        Listener(board, [])
    board.model = random_model()
    with pytest.raises(TidegateError, match="no feature front end"):
        Listener(board, [])
    board = Board()
    board.stop = Stop(100)
    with pytest.raises(TidegateError, match=r"set board\.stop = None"):
        Listener(board, [])
    with pytest.raises(AudioError, match="cannot listen to 5"):
        Listener(Board(), 5)
    listener = Listener(Board(), [])
    list(listener)
    with pytest.raises(TidegateError, match="listens once"):
        list(listener)


def test_board_listen_is_the_listener_on_the_board():
    """A driver and a fake board whose answers depend on every frame since reset: none is lost, doubled or moved."""
    with drivers.Board(FakeTransport(FakeBoard())) as board:
        with pytest.raises(BoardError, match="no model is loaded"):
            board.listen([])
        board.load(model())
        seen, samples = [], sound(3, (1.0,))
        list(board.listen(pieces(samples, 5), watch=seen.append))
        results = [r for h in seen for r in h.results]
        assert results == list(board.stream(FrontEnd().accept(samples)))
        with pytest.raises(BoardError, match=r"only a board from Board\.open can be opened again"):
            board.reopen()


class Bursts(SoundSource):
    name, live = "bursts", True

    def __init__(self, samples):
        self.rate, self.samples = RATE, samples

    def open(self, stop):
        pass

    def pieces(self, stop):
        for k in range(0, len(self.samples), 160):
            yield Piece(self.samples[k : k + 160])


def test_the_queue_is_bounded_and_keeps_the_newest():
    """Half a second too soon: of a queue of 1 s, what is not ahead of the clock is dropped from its old end."""
    numbered = np.arange(RATE, dtype=np.float32) / RATE
    intake = Intake(Bursts(numbered), 0.25)
    intake._ahead_s = 100.0     # nothing counts as a recording
    time.sleep(0.3)
    first = intake.take(1, 10**6)
    assert isinstance(first, Piece)
    assert len(first.samples) <= RATE // 4 and first.lost + len(first.samples) == RATE == intake.delivered
    assert np.array_equal(first.samples, numbered[first.lost :])
    intake.close()


def test_a_recording_in_a_live_pipe_waits():
    numbered = np.arange(RATE, dtype=np.float32) / RATE
    intake, got = Intake(Bursts(numbered), 0.25), []
    while isinstance(piece := intake.take(1, 1000), Piece):
        assert piece.lost == 0
        got.append(piece.samples)
        time.sleep(0.001)
    assert np.array_equal(np.concatenate(got), numbered)
    intake.close()


def test_a_flac_that_does_not_know_how_long_it_is(tmp_path):
    """As an encoder writes it into a pipe: the number of samples in its header is 0."""
    samples, path = sound(7, LOUD).clip(-0.99, 0.99), tmp_path / "x.flac"
    soundfile.write(path, samples, RATE)
    data = bytearray(path.read_bytes())
    assert data[:4] == b"fLaC" and data[4] & 127 == 0
    data[21] &= 0xF0                    # 36 bits, from the middle of a byte on
    data[22:26] = bytes(4)
    path.write_bytes(data)
    words = list(Listener(Board(), path, fast=True))
    assert [w.label for w in words] == ["loud"] * 3


def test_a_file_that_is_cut_off_is_heard_up_to_there_or_refused(tmp_path):
    for kind in ("flac", "ogg", "wav"):
        path = tmp_path / f"x.{kind}"
        soundfile.write(path, sound(7, LOUD).clip(-0.99, 0.99), RATE)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        notices: list = []
        words, listener = [], Listener(Board(), path, fast=True, notice=notices.append)
        try:
            words.extend(listener)
        except AudioError as error:
            assert kind != "wav" and "cannot be read as sound" in str(error)
        assert balanced(listener.totals) and len(words) <= 2
        if kind == "wav":
            assert [n.text for n in notices] == [f"'{path}' is cut short, 50% of it is there; copy it again"]


def test_a_file_whose_name_or_kind_says_nothing(tmp_path):
    (tmp_path / "x.raw").write_bytes(bytes(1000))
    with pytest.raises(AudioError, match=r"x\.raw' does not say what its samples are; give it on standard input"):
        list(Listener(Board(), tmp_path / "x.raw", fast=True))
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))
    with open(path, "wb") as file:
        soundfile.write(file, sound(7, LOUD).clip(-0.99, 0.99), RATE, format="WAV")
    assert len(list(Listener(Board(), path, fast=True))) == 3


def test_a_long_block_is_answered_bit_by_bit():
    """What the board had answered when it was lost is heard, and counted."""
    notices, board = [], Board(fails=[300], away=1)
    listener = Listener(board, [sound(7, LOUD)], notice=notices.append)
    words = list(listener)
    assert {w.stretch for w in words} == {0, 1} and max(board.sizes) < 100 and balanced(listener.totals)
    assert listener.totals.lost < 1.1 and listener.totals.frames == board.answered


def test_why_the_board_does_not_come_back_is_told_once():
    notices, board = [], Board(fails=[30], away=3)
    list(Listener(board, [sound(3)], notice=notices.append))
    assert [n.text for n in notices if n.kind == "board-lost"] == [
        "lost the board on fake; check the cable and power, then start again; trying again every second",
        "no port 'fake'; `tidegate boards` lists the ones that are there; trying again every second"]


def test_a_source_that_exits_ends_listening():
    def blocks():
        yield sound(1)
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(Listener(Board(), blocks()))


def test_a_gap_of_the_source_is_told_while_the_board_is_away():
    """The microphone comes back before the board does, 0.3 s after it was lost."""
    class Gap(Paced):
        def pieces(self, stop):
            for k, piece in enumerate(super().pieces(stop)):
                yield replace(piece, lost=800, why="the microphone is back", kind="source-back") if k == 40 else piece

    notices, board = [], Board(fails=[20], away=1)
    listener = Listener(board, Gap(sound(4)), notice=notices.append)
    list(listener)
    assert "source-back" in [n.kind for n in notices] and balanced(listener.totals) and listener.totals.gaps >= 1
