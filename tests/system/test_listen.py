"""``tidegate listen`` as a user runs it: sources, what it prints, what it survives, how it ends."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import COMMAND, fails, tidegate, write_sound
from fake_board import FakeBoard
from pty_board import PtyBoard

from tidegate import Board, load_model
from tidegate.clips import clips
from tidegate.host.audio import read_audio
from tidegate.host.features import features_of

MADE_CARD = Path(__file__).parents[1] / "host/made_card"
RATE = 16000
WORDS = ("zero", "one", "two", "left", "go")


def spoken(repeats: int = 1) -> np.ndarray:
    """Bundled words, one after the other."""
    by_word = {clip.word: read_audio(clip.path, RATE) for clip in reversed(clips())}
    return np.concatenate([by_word[word] for word in WORDS] * repeats)


@pytest.fixture
def speech(tmp_path, compiled):
    path = tmp_path / "speech.wav"
    soundfile.write(path, spoken(), RATE)
    return path


def lines(done) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def words(entries: list[dict]) -> list[tuple]:
    return [(e["word"], e["time_s"], e["confidence"]) for e in entries if e["event"] == "word"]


@pytest.fixture(scope="module")
def expected(tmp_path_factory, compiled):
    """Words, times and probabilities of the detector on the driver's answers to the file's features."""
    from tidegate.host.detector import Detector

    path, model = tmp_path_factory.mktemp("speech") / "speech.wav", load_model("commands")
    soundfile.write(path, spoken(), RATE)
    with Board.open() as board:
        board.load(model)
        logits = np.array([r.logits for r in board.stream(features_of(model, path))])
    found = [(d.label, d.time_s, d.probability) for d in Detector.of(model).accept(logits)]
    assert len(found) >= 3
    return found


def test_a_file_at_full_speed(speech, expected):
    done = tidegate("listen", speech, "--fast")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"{t:9.2f} s  {label:12} {p:4.0%}" for label, t, p in expected]
    assert done.stderr.strip() == f"heard 5.0 s (311 frames), {len(expected)} words; lost 0.0 s (0 frames)"


def test_json_has_the_same_words(speech, expected):
    done = tidegate("listen", speech, "--fast", "--json")
    assert done.returncode == 0 and done.stderr == ""
    entries = lines(done)
    assert words(entries) == expected
    summary = entries[-1]
    assert (summary["event"], summary["frames"], summary["frames_lost"], summary["words"]) == (
        "summary", 311, 0, len(expected))
    assert summary["delivered"] == pytest.approx(summary["heard"] + summary["lost"] + summary["left"])


def test_a_file_at_the_pace_of_speech(speech, expected):
    began = time.monotonic()
    done = tidegate("listen", speech, "--json")
    assert time.monotonic() - began >= 5 and words(lines(done)) == expected


@pytest.mark.parametrize("wav", [False, True])
def test_a_pipe_as_from_arecord(speech, expected, wav):
    """Raw as with -t raw, and with the header that arecord writes of its own accord; cut at odd places."""
    samples, _ = soundfile.read(speech, dtype="int16")
    data = speech.read_bytes() if wav else samples.astype("<i2").tobytes()
    process = subprocess.Popen([*COMMAND, "listen", "-", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               bufsize=0)
    for k in range(0, len(data), 999):
        process.stdin.write(data[k : k + 999])
    process.stdin.close()
    entries = [json.loads(line) for line in process.stdout]
    assert process.wait(60) == 0
    assert words(entries) == expected and entries[-1]["lost"] == 0


def test_other_formats_of_a_pipe(speech, expected):
    samples, _ = soundfile.read(speech, dtype="float32")
    both = np.repeat(samples[:, None], 2, 1).astype("<f4").tobytes()
    done = subprocess.run([*COMMAND, "listen", "-", "--json", "--fast", "--format", "F32_LE", "--channels", "2"],
                          input=both, capture_output=True, timeout=100)
    assert done.returncode == 0 and words([json.loads(x) for x in done.stdout.splitlines()]) == expected


def test_a_threshold_is_obeyed(speech, expected):
    few = words(lines(tidegate("listen", speech, "--fast", "--json", "--threshold", "0.995")))
    assert len(few) < len(expected) and all(p >= 0.995 for _, _, p in few)


def test_python(speech, expected):
    with Board.open() as board:
        board.load(load_model("commands"))
        heard = [(w.label, w.time_s, w.probability) for w in board.listen(speech, fast=True)]
        assert heard == expected
        samples = read_audio(speech, RATE)
        heard = [(w.label, w.time_s, w.probability) for w in board.listen([samples[:9999], samples[9999:]])]
        assert heard == expected


def card(sound: Path, unplug: str | None = None) -> dict:
    return os.environ | {"PYTHONPATH": str(MADE_CARD), "TIDEGATE_TEST_SOUND": str(sound), "NO_COLOR": "1",
                         "TIDEGATE_TEST_UNPLUG": unplug or "1000 1"}


def test_a_made_sound_device(speech, expected):
    """Through the card's callback, in real time; the silence after it has no words."""
    process = subprocess.Popen([*COMMAND, "listen", "--json", "--device", "made mic".title()], stdout=subprocess.PIPE,
                               text=True, env=card(speech))
    heard = [json.loads(process.stdout.readline()) for _ in expected]
    process.send_signal(signal.SIGINT)
    rest = [json.loads(line) for line in process.stdout]
    assert process.wait(30) == 0
    assert words(heard) == expected
    assert [e["event"] for e in rest] == ["summary"] and rest[0]["lost"] == 0


def test_an_unplugged_microphone(speech):
    process = subprocess.Popen([*COMMAND, "listen", "--json"], stdout=subprocess.PIPE, text=True,
                               env=card(speech, "0.9 1.5"))
    entries = []
    while not entries or entries[-1].get("word") != "go":
        entries.append(json.loads(process.stdout.readline()))
    process.send_signal(signal.SIGTERM)
    summary = json.loads(process.stdout.readline())
    assert process.wait(30) == 0
    lost, back = (e for e in entries if e["event"] == "notice")
    assert lost["kind"] == "source-lost" and back["kind"] == "source-back"
    assert 1.4 < back["sound_s"] < 3.5 and back["sound_s"] <= summary["lost"] < back["sound_s"] + 0.032
    assert back["frames"] <= summary["frames_lost"] <= back["frames"] + 2


def test_a_list_of_devices(speech):
    done = tidegate_with(card(speech), "listen", "--list-devices")
    assert done.stdout == "  1  USB Made Microphone  (1 channels, 16000 Hz)  default\n"
    (entry,) = json.loads(tidegate_with(card(speech), "listen", "--list-devices", "--json").stdout)
    assert entry == {"number": 1, "name": "USB Made Microphone", "channels": 1, "rate": 16000.0, "default": True}


def tidegate_with(env: dict, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=100, env=env)


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def listening(*arguments, env: dict | None = None, **options):
    """A running ``tidegate listen``; killed at the end if it still runs."""
    process = subprocess.Popen([*COMMAND, "listen", *map(str, arguments)], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=(env or os.environ) | {"NO_COLOR": "1"}, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_the_virtual_board_dies_and_comes_back(tmp_path, compiled):
    path = tmp_path / "speech.wav"
    soundfile.write(path, spoken(3), RATE)
    with listening(path, "--json") as process:
        entries = [json.loads(process.stdout.readline())]       # a word: it listens
        (simulator,) = children(process.pid)
        os.kill(simulator, signal.SIGKILL)
        entries += [json.loads(line) for line in process.stdout]
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
    notices = [e for e in entries if e["event"] == "notice"]
    assert [n["kind"] for n in notices] == ["board-lost", "board-back"]
    assert "trying again every second" in notices[0]["text"]
    summary = entries[-1]
    assert summary["board_losses"] == 1 and 0 < summary["lost"] == pytest.approx(notices[1]["sound_s"])
    assert summary["delivered"] == pytest.approx(15) == summary["heard"] + summary["lost"] + summary["left"]
    assert abs(936 - summary["frames"] - summary["frames_lost"]) <= 3
    assert "go" in [w for w, t, _ in words(entries) if t > 14]


class Plug:
    """A fake board behind a path that is there only while it is plugged in."""

    def __init__(self, folder: Path):
        self.path = folder / "board"
        self.plug()

    def plug(self) -> None:
        self.device = PtyBoard(FakeBoard())
        self.path.symlink_to(self.device.port)

    def pull(self) -> None:
        self.path.unlink()
        self.device.close()


def test_a_board_that_is_unplugged_and_plugged_in_again(tmp_path, model):
    plug = Plug(tmp_path)
    sound = write_sound(tmp_path / "noise.wav", 12)
    with listening(sound, "--model", model, "--board", plug.path, "--json") as process:
        wait_for(lambda: plug.device.board.frames > 50)
        plug.pull()
        time.sleep(2.5)
        plug.plug()
        wait_for(lambda: plug.device.board.frames > 50)
        entries = [json.loads(line) for line in process.stdout]
        assert process.wait(60) == 0
    notices = [e for e in entries if e["event"] == "notice"]
    kinds = [n["kind"] for n in notices]
    assert kinds[0] == "board-lost" and kinds[-1] == "board-back" and "check the cable" in notices[0]["text"]
    summary = entries[-1]
    assert 2.4 < summary["lost"] < 10 and summary["lost"] == pytest.approx(notices[-1]["sound_s"])
    assert abs(749 - summary["frames"] - summary["frames_lost"]) <= 3
    plug.device.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_with_an_account(tmp_path, device, model, number):
    with listening(write_sound(tmp_path / "n.wav", 60), "--model", model, "--board", device.port) as process:
        wait_for(lambda: device.board.frames > 20)
        began = time.monotonic()
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
        assert time.monotonic() - began < 20 and process.returncode == 0
        assert error.splitlines()[-1].startswith("heard ") and "Traceback" not in error
        assert "0.0 s (0 frames)" in error
        assert all(" s  " in line for line in out.splitlines())


def test_a_signal_to_the_whole_group_leaves_the_virtual_board_to_us(tmp_path, compiled, model):
    """As systemd and docker stop a service."""
    with listening(write_sound(tmp_path / "n.wav", 60), "--model", model, "--json", start_new_session=True) as process:
        time.sleep(8)
        os.killpg(process.pid, signal.SIGTERM)
        out, error = process.communicate(timeout=60)
        (summary,) = (e for e in map(json.loads, out.splitlines()) if e["event"] != "word")
        assert process.returncode == 0 and not error and summary["frames"] > 0
        assert summary["frames_lost"] == summary["board_losses"] == 0


def test_a_signal_while_the_board_is_away(tmp_path, model):
    plug = Plug(tmp_path)
    with listening(write_sound(tmp_path / "n.wav", 60), "--model", model, "--board", plug.path) as process:
        wait_for(lambda: plug.device.board.frames > 20)
        plug.pull()
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0 and "lost the board" in error and error.splitlines()[-1].startswith("heard ")


def test_a_signal_while_a_pipe_gives_nothing(model, device):
    """Before the first sound it is a verb like others, after it listening."""
    for first, code in ((b"", 130), (bytes(40_000), 0)):
        with listening("-", "--model", model, "--board", device.port, stdin=subprocess.PIPE) as process:
            process.stdin.buffer.write(first)
            process.stdin.flush()
            wait_for(lambda: device.board.frames > 20 if first else not time.sleep(4))  # noqa: B023
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == code
            process.stdin.close()


def test_under_nohup_with_everything_closed(tmp_path, device, model):
    sound = write_sound(tmp_path / "n.wav", 6)
    command = " ".join([*COMMAND, "listen", str(sound), "--model", str(model), "--board", device.port, "--json"])
    process = subprocess.Popen(["bash", "-c", f"exec nohup {command} <&- 2>&- > out"], cwd=tmp_path)
    wait_for(lambda: device.board.frames > 20)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 0
    summary = json.loads((tmp_path / "out").read_text().splitlines()[-1])
    assert summary["frames"] == 374 and summary["lost"] == 0


def test_standard_input_that_is_closed(device, model):
    done = subprocess.run(["bash", "-c", f"{' '.join(COMMAND)} listen - --model {model} --board {device.port} <&-"],
                          capture_output=True, text=True, timeout=60)
    fails(done, "standard input is closed; pipe raw PCM into it")


def test_a_reader_that_goes_away(speech):
    done = subprocess.run(["bash", "-c", f"{' '.join(COMMAND)} listen {speech} --fast --json | head -n 1"],
                          capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["event"] == "word" and "Traceback" not in done.stderr


def test_a_command_and_a_recording_for_each_word(speech, expected, tmp_path):
    program = tmp_path / "say"
    program.write_text("#!/bin/sh\necho \"$TIDEGATE_WORD $TIDEGATE_TIME\" >> $1\necho told\nexit $2\n")
    program.chmod(0o755)
    done = tidegate("listen", speech, "--fast", "--json", "--exec", f"{program} {tmp_path / 'told'} 0",
                    "--record", tmp_path / "rec")
    assert done.returncode == 0 and len(words(lines(done))) == len(expected)
    assert sorted((tmp_path / "told").read_text().splitlines()) == sorted(f"{w} {t:.3f}" for w, t, _ in expected)
    assert done.stderr == "told\n" * len(expected)
    recordings = sorted((tmp_path / "rec").iterdir())
    assert sorted(f.stem.split("_")[-1] for f in recordings) == sorted(w for w, _, _ in expected)
    failing = tidegate("listen", speech, "--fast", "--exec", f"{program} {tmp_path / 'told'} 7")
    assert failing.returncode == 0
    assert failing.stderr.count("ended with exit code 7 for") == len(expected)


MISTAKES = [
    (["nope.wav"], "no sound file 'nope.wav'"), (["{text}"], "cannot be read as sound"),
    (["."], "'.' is a folder; give a sound file"),
    (["{sound}", "--threshold", "1.5"], "at least 0.5 and below 1"),
    (["{sound}", "--device", "1"], "--device chooses a microphone"),
    (["{sound}", "--rate", "8000"], "are of raw PCM on standard input; a file says what it holds"),
    (["--fast"], "a microphone cannot be heard faster"), (["-", "--format", "U8"], "choose S16_LE, S32_LE, F32_LE"),
    (["-", "--rate", "5"], "1000 samples per second"), (["-"], "ended before any sound came"),
    (["{sound}", "--exec", "nope-no-program"], "no program 'nope-no-program'"),
    (["{sound}", "--exec", "echo '"], "check its quotes"),
    (["{sound}", "--record", "{text}"], "nothing can be recorded in"),
    (["{sound}", "--board", "/dev/ttyNOPE7"], "no port '/dev/ttyNOPE7'"), (["{sound}", "--model", "nope"], "no model"),
]


@pytest.mark.parametrize("arguments, text", MISTAKES, ids=[" ".join(a) for a, _ in MISTAKES])
def test_mistakes_are_one_line(tmp_path, device, model, arguments, text):
    (tmp_path / "text").write_text("this is no sound\n" * 100)
    files = {"text": tmp_path / "text", "sound": write_sound(tmp_path / "n.wav", 1)}
    options = [a.format(**files) for a in arguments]
    if "--model" not in options:
        options += ["--model", model]
    if "--board" not in options:
        options += ["--board", device.port]
    fails(tidegate("listen", *options, cwd=tmp_path, stdin=subprocess.DEVNULL), text)


def test_an_empty_file_and_a_damaged_one(tmp_path, device, model):
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0), RATE)
    fails(tidegate("listen", empty, "--model", model, "--board", device.port), "contains no samples")
    damaged = tmp_path / "damaged.flac"
    damaged.write_bytes(b"fLaC and nothing more")
    fails(tidegate("listen", damaged, "--model", model, "--board", device.port), "cannot be read as sound")


def test_the_live_line_is_on_a_terminal_only(tmp_path, device, model):
    """Standard error is a terminal: level, occupancy and a raster in braille; with --json, or a pipe, there is none."""
    sound = write_sound(tmp_path / "n.wav", 2)
    shown = {}
    for json_too in (False, True):
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "listen", str(sound), "--model", str(model), "--board", device.port,
             *(["--json"] if json_too else [])],
            stdout=subprocess.PIPE, stderr=slave, text=True, env=os.environ | {"TERM": "xterm", "COLUMNS": "100"})
        os.close(slave)
        data = b""
        while process.poll() is None or select.select([master], [], [], 0)[0]:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    data += os.read(master, 65536)
                except OSError:
                    break
        process.wait(10)
        process.stdout.close()
        os.close(master)
        shown[json_too] = data.decode()
    text = shown[False]
    assert text.count("\r") > 10 and " dB  sent " in text and "%" in text
    assert any("\u2801" <= c <= "\u28ff" for c in text)
    assert text.rstrip().splitlines()[-1].split("\x1b[K")[-1].startswith("heard 2.0 s")
    assert " dB  sent " not in shown[True] and "\u28ff" not in shown[True]
    piped = tidegate("listen", sound, "--fast", "--model", model, "--board", device.port)
    assert "\r" not in piped.stderr and " dB " not in piped.stderr


def test_the_raster_shows_what_the_board_sends(speech):
    """The host follows the encoder: as many dots as the board counts events, in every frame."""
    from tidegate.commands.live import FRAMES, LiveLine, Raster

    model, seen = load_model("commands"), []
    with Board.open() as board:
        board.load(model)
        list(board.listen(speech, fast=True, watch=seen.append))
    raster, counted = Raster(model), []
    for heard in seen:
        for frame in heard.frames:
            raster.accept(frame[None])
            counted.append(int(raster.sent[-1].sum()))
    assert counted == [r.events[0] for h in seen for r in h.results] and max(counted) > 5
    from rich.console import Console

    line = LiveLine(model, Console(file=open(os.devnull, "w")))
    for heard in seen:
        line.watch(heard)
    assert len(line.raster.text()) == FRAMES // 2
    recent = [r for h in seen for r in h.results][-FRAMES:]
    share = sum(map(sum, (r.events for r in recent))) / (FRAMES * (40 + 128))
    assert f"sent {share:5.1%}" in line.text()


if sys.platform != "linux":
    pytest.skip("signals and /proc", allow_module_level=True)
