"""What is done for each word: a recording of it, a command."""

import os
import stat
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from listening import RATE, Board, model, sound

from tidegate.host.frontend import FrontEndSettings
from tidegate.host.listen import Listener, Word
from tidegate.host.recorder import Recorder
from tidegate.host.runner import MOST, Runner
from tidegate.spec.errors import TidegateError

SETTINGS = FrontEndSettings()


def word(label: str = "left", k: int = 0) -> Word:
    return Word(label, 1.5 + k, 0.9, 1e9, 0, 90)


def listened(folder, samples, pieces=1000, notices=None, board=None):
    recorder = Recorder(folder, SETTINGS, (notices if notices is not None else []).append)
    listener = Listener(board or Board(), [samples[k : k + pieces] for k in range(0, len(samples), pieces)],
                        watch=recorder.heard)
    words = list(listener)
    recorder.close()
    return words, recorder


@pytest.mark.parametrize("pieces", [160, 4000, 100_000])
def test_a_recording_is_the_sound_around_the_word(tmp_path, pieces):
    samples = sound(9, (0.5, 4.0, 8.5)).clip(-0.9, 0.9)
    words, recorder = listened(tmp_path / "new" / "folder", samples, pieces)
    files = sorted((tmp_path / "new" / "folder").iterdir(), key=lambda f: float(f.name.split("_")[1][:-1]))
    assert len(words) == len(files) == recorder.written == 3 and recorder.failed == 0
    for at, file in zip(words, files, strict=True):
        assert file.name.endswith(f"_{at.time_s:09.2f}s_loud.wav")
        got, rate = soundfile.read(file, dtype="float32")
        end = round(at.time_s * RATE)
        expected = samples[max(0, end - 24000) : end + 8000]
        assert rate == RATE and abs(len(got) - len(expected)) < 512     # the last frame may be cut off by the end
        assert np.abs(got - expected[: len(got)]).max() <= 2.0**-15
    assert len(soundfile.read(files[1])[0]) == 2 * RATE


def test_a_day_of_recordings_keeps_no_sound(tmp_path):
    recorder = Recorder(tmp_path, SETTINGS, [].append)
    listener = Listener(Board(), [sound(60)] * 5, watch=recorder.heard)
    list(listener)
    assert len(recorder._sound) < 5 * RATE and recorder._waiting == []


def test_words_of_one_moment_do_not_overwrite_each_other(tmp_path):
    samples = sound(3, (1.0,))
    listened(tmp_path, samples)
    listened(tmp_path, samples)
    listened(tmp_path, samples)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_label_is_no_path(tmp_path):
    board = Board()
    object.__setattr__(board.model, "labels", ("../a/b ü", *model().labels[1:]))
    listened(tmp_path, sound(3, (1.0,)), board=board)
    (file,) = tmp_path.iterdir()
    assert file.name.endswith("s____a_b_ü.wav")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_listening_goes_on(tmp_path, monkeypatch):
    notices = []
    monkeypatch.setattr(Recorder, "_new_file", lambda self, word: open("/dev/full", "wb"))
    monkeypatch.setattr("pathlib.Path.unlink", lambda self, missing_ok=False: None)     # or /dev/full would be gone
    words, recorder = listened(tmp_path, sound(7, (1.0, 4.0)), notices=notices)
    assert len(words) == 2 and recorder.failed == 2 and recorder.written == 0
    assert all("'loud' was not recorded" in n.text and "\n" not in n.text for n in notices) and len(notices) == 2


def test_a_folder_that_vanishes_is_one_line(tmp_path):
    notices, folder = [], tmp_path / "r"
    recorder = Recorder(folder, SETTINGS, notices.append)
    folder.rmdir()
    list(Listener(Board(), [sound(4, (1.0,))], watch=recorder.heard))
    recorder.close()
    assert recorder.failed == 1 and "No such file" in notices[0].text


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "below", "/proc/nope"):
        with pytest.raises(TidegateError, match=r"nothing can be recorded in .*choose another folder"):
            Recorder(folder, SETTINGS, print)


def script(path, text: str) -> str:
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_command_gets_the_word_and_no_shell_sees_it(tmp_path):
    program = script(tmp_path / "say it", "import os, sys\n"
                     "e = os.environ\nopen(sys.argv[1], 'w').write('|'.join([e['TIDEGATE_WORD'], "
                     "e['TIDEGATE_CONFIDENCE'], e['TIDEGATE_TIME'], e['TIDEGATE_AT'][:4], *sys.argv[2:]]))")
    notices, file = [], tmp_path / "out"
    runner = Runner(f"'{program}' {file} '$HOME; ls' \"two words\"", notices.append)
    runner.run(word("a'b; rm -rf"))
    runner.close(20)
    assert file.read_text() == "a'b; rm -rf|0.9000|1.500|2001|$HOME; ls|two words" and notices == []


def test_a_slow_command_does_not_hold_up_listening_and_there_are_not_too_many(tmp_path):
    notices = []
    runner = Runner(f"{sys.executable} -c 'import time; time.sleep(2)'", notices.append)
    began = time.monotonic()
    for k in range(MOST + 3):
        runner.run(word(k=k))
    assert time.monotonic() - began < 1.9
    assert runner.started == MOST and len(notices) == runner.failed == 3
    assert f"{MOST} commands are still running, so none was started for 'left'" in notices[0].text
    runner.close(30)
    runner.run(word())
    assert runner.started == MOST + 1
    runner.close(30)


def test_a_command_that_fails_is_one_line(tmp_path):
    notices = []
    runner = Runner(f"{sys.executable} -c 'import sys; sys.exit(3)'", notices.append)
    runner.run(word())
    runner.close(20)
    program = script(tmp_path / "x", "")
    (tmp_path / "x").write_text("#!/no/such/interpreter\n")
    gone = Runner(program, notices.append)
    gone.run(word())
    gone.close(20)
    assert [n.text for n in notices] == [f"--exec: '{sys.executable}' ended with exit code 3 for 'left'",
                                         f"--exec: '{program}' could not be started (No such file or directory)"]


def test_a_label_that_is_no_text_for_a_program_is_one_line():
    notices = []
    runner = Runner(sys.executable, notices.append)
    runner.run(replace(word(), label="le\0ft"))
    runner.close(20)
    (notice,) = notices
    assert "could not be started (" in notice.text and runner.failed == 1


@pytest.mark.parametrize("command, text", [
    ("nope-no-such-program x", "no program 'nope-no-such-program'"), ("", "no program ''"),
    ("echo 'left", "cannot be taken apart .*check its quotes")])
def test_a_command_that_cannot_be(command, text):
    with pytest.raises(TidegateError, match=text):
        Runner(command, print)
