"""Mistakes of users and of the world around them: one line, exit code not 0, no traceback, the next run works."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from command import COMMAND, fails, tidegate, write_model, write_sound

PATIENCE = 60       # seconds that a busy machine may take to reach a certain point


@pytest.fixture
def sound(tmp_path):
    return write_sound(tmp_path / "noise.wav")


def test_missing_model(sound):
    fails(tidegate("run", sound, "--model", "nope.tidegate"), "no model")


def test_a_name_that_is_too_long_is_told_before_the_work(tmp_path):
    fails(tidegate("train", tmp_path, "--out", tmp_path / f"{'y' * 300}.tidegate"), "File name too long")


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "tidegate", "models", "--json"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("[")


def test_wrong_model_file(sound, tmp_path):
    path = tmp_path / "text.tidegate"
    path.write_text("this is no model\n")
    fails(tidegate("run", sound, "--model", path), "not a readable model file")


def test_a_model_that_does_not_decide_early(sound, tmp_path):
    for verb in (("run", sound, "--model", "digits"), ("eval", "digits", "--data", tmp_path)):
        fails(tidegate(*verb, "--early"), "was not trained to decide early; give a --margin")
        fails(tidegate(*verb, "--margin", "-1"), "a stop margin is a lead from 0 to 511.992")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_truncated_model_file(sound, model, share):
    data = model.read_bytes()
    model.write_bytes(data[: int(share * len(data))])
    fails(tidegate("run", sound, "--model", model), "not a readable model file")


def test_too_large_a_model(sound, tmp_path, device):
    model = write_model(tmp_path, gru=(400, 400))
    fails(tidegate("run", sound, "--model", model, "--board", device.port), "weight memory words, the board has")


def test_model_without_front_end(sound, tmp_path):
    from models import random_model

    from tidegate.spec.model import save_model

    save_model(random_model(), tmp_path / "m.tidegate")
    fails(tidegate("run", sound, "--model", tmp_path / "m.tidegate"), "no feature front end")
    fails(tidegate("bench", tmp_path / "m.tidegate"), "no feature front end")


def test_unknown_port(sound, model):
    fails(tidegate("run", sound, "--model", model, "--board", "/dev/ttyNOPE7"), "no port '/dev/ttyNOPE7'")


def test_unknown_lanes(sound, model):
    for verb, what in ((["run", sound, "--model"], "virtual board"), (["verify"], "virtual board"),
                       (["bench"], "simulated core"), (["fit"], "virtual board")):
        fails(tidegate(*verb, model, "--lanes", "7"), f"no {what} with 7 lanes; choose 8, 16, 64, 128")


def test_missing_sound(model):
    fails(tidegate("run", "nope.wav", "--model", model), "no sound file 'nope.wav'")


def test_corrupt_sound(model, sound):
    sound.write_bytes(b"RIFF" + bytes(range(200)))
    fails(tidegate("run", sound, "--model", model), "cannot be read as sound")


def test_empty_sound(model, sound):
    sound.write_bytes(b"")
    fails(tidegate("run", sound, "--model", model), "cannot be read as sound")
    soundfile.write(sound, np.zeros(0), 16000)
    fails(tidegate("run", sound, "--model", model), "contains no samples")
    soundfile.write(sound, np.zeros(100), 16000)
    fails(tidegate("run", sound, "--model", model), "shorter than one frame of 32 ms")


def test_too_many_channels(model, tmp_path):
    sound = write_sound(tmp_path / "[six] channels.wav", channels=6)
    fails(tidegate("run", sound, "--model", model), "6 channels")


def test_nan_in_sound(model, sound):
    soundfile.write(sound, np.full(8000, np.nan), 16000, "FLOAT")
    fails(tidegate("run", sound, "--model", model), "NaN")


def test_a_sound_that_is_cut_short_is_used_with_one_line(device, model, sound):
    data = sound.read_bytes()
    sound.write_bytes(data[: len(data) // 4])
    done = tidegate("run", sound, "--model", model, "--board", device.port)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1
    assert done.stderr.splitlines() == [f"warning: '{sound}' is cut short, 25% of it is there; copy it again"]


def test_a_recording_that_is_longer_than_a_word(device, model, sound, tmp_path):
    long = write_sound(tmp_path / "long.wav", 28)
    fails(tidegate("run", sound, long, "--model", model, "--board", device.port),
          "s of sound, longer than a word; `tidegate listen` hears words in a stream")
    assert device.board.frames == 0
    phrase = write_sound(tmp_path / "phrase.wav", 5)
    done = tidegate("run", sound, phrase, "--model", model, "--board", device.port)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2
    line, = done.stderr.splitlines()
    assert line.startswith(f"warning: '{phrase}' holds 4.") and line.endswith("and this is the label of its end")
    samples, rate = soundfile.read(sound)
    soundfile.write(long, np.concatenate([np.zeros(15 * rate), samples, np.zeros(12 * rate)]), rate)
    done = tidegate("run", long, "--model", model, "--board", device.port)
    assert done.returncode == 0 and done.stderr == ""       # one word and much silence


def test_missing_folders(model, tmp_path):
    fails(tidegate("eval", model, "--data", tmp_path / "nope"), "no folder")
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"name": "mine"}')
    fails(tidegate("train", tmp_path / "nope", "--recipe", recipe), "no folder")
    fails(tidegate("train", tmp_path / "nope", "--recipe", "nope"), "no recipe 'nope' in the zoo")
    fails(tidegate("train", tmp_path / "nope", "--recipe", tmp_path / "nope.json"), "no recipe")
    fails(tidegate("verify", model, "--data", tmp_path / "nope"), "no recordings in")


def test_output_that_cannot_be_written():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "models"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=100)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "the output cannot be" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any folder")
def test_a_folder_without_permission(model, tmp_path):
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero").chmod(0)
    fails(tidegate("eval", model, "--data", tmp_path), "permission")


def test_a_name_with_brackets(model, tmp_path):
    fails(tidegate("eval", model, "--data", tmp_path / "my [red] words"), "my [red] words")


def test_wrong_usage():
    done = tidegate("run", "--frobnicate")
    assert done.returncode == 2 and "Traceback" not in done.stderr and "frobnicate" in done.stderr


@pytest.mark.parametrize("package, verb, extra", [
    ("torch", ["eval", "MODEL", "--data", "."], "tidegate[train]"),
    ("torch", ["verify", "MODEL"], "tidegate[train]"),
    ("amaranth", ["run", "SOUND", "--model", "MODEL"], "tidegate[sim]"),
    ("nir", ["export", "MODEL", "--out", "n.nir"], "tidegate[import]"),
])
def test_missing_extra(model, sound, tmp_path, package, verb, extra):
    arguments = [{"MODEL": str(model), "SOUND": str(sound)}.get(a, a) for a in verb]
    program = f"import sys; sys.modules[{package!r}] = None; sys.argv[1:] = {arguments!r}\n" \
              "from tidegate.cli import main; main()"
    nothing_compiled = os.environ | {"TIDEGATE_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE,
                          env=nothing_compiled)
    fails(done, f"pip install '{extra}'")
    assert package in done.stderr


def start_long_run(device, model, sound):
    """``tidegate run`` on far more sounds than can be streamed here, once it streams."""
    process = subprocess.Popen([*COMMAND, "run", *[str(sound)] * 500, "--model", str(model), "--board", device.port],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + PATIENCE
    while device.board.frames < 5:
        assert process.poll() is None and time.monotonic() < limit, process.communicate()
        time.sleep(0.005)
    return process


def finished(process) -> subprocess.CompletedProcess:
    _, stderr = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(process.args, process.returncode, "", stderr)


def test_cable_pulled_in_mid_stream(device, model, sound):
    process = start_long_run(device, model, sound)
    device.close()
    fails(finished(process), "lost the board on")


def test_board_falls_silent(device, model, sound):
    process = start_long_run(device, model, sound)
    device.pause = True
    fails(finished(process), "is the board powered and the bitstream loaded?")


def test_interrupt(device, model, sound):
    process = start_long_run(device, model, sound)
    process.send_signal(signal.SIGINT)
    fails(finished(process), "interrupted", code=130)
    done = tidegate("run", sound, "--model", model, "--board", device.port)
    assert done.returncode == 0, done.stderr


def test_killed_user_leaves_the_board_usable(device, model, sound):
    process = start_long_run(device, model, sound)
    process.kill()
    finished(process)
    done = tidegate("run", sound, "--model", model, "--board", device.port)
    assert done.returncode == 0, done.stderr


def test_reader_goes_away(device, model, sound):
    process = start_long_run(device, model, sound)
    process.stdout.close()
    process.stdout = None
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0 and stderr == ""
