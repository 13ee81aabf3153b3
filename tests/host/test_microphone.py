"""A microphone by way of sounddevice, on a made sound card; and on the real PortAudio where it is installed."""

import builtins
import ctypes.util
import importlib.util
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from listening import RATE, Board, sound

from tidegate.host import microphone
from tidegate.host.any_source import source_of
from tidegate.host.audio import AudioError
from tidegate.host.listen import Listener
from tidegate.host.microphone import Microphone, microphones


@pytest.fixture
def sd(monkeypatch):
    """The made module, with a card of its own; 3 s with a word at 1.0 s."""
    path = Path(__file__).parent / "made_card/sounddevice.py"
    spec = importlib.util.spec_from_file_location("made_sounddevice", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "made_sounddevice", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    module.card.samples, module.card.speed = sound(3, (1.0,)), 4.0
    return module


def listen(seconds: float, **options):
    """Listen to a microphone for so many seconds of time: (words, listener, notices)."""
    stop, notices = threading.Event(), []
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    listener = Listener(Board(), Microphone(**options), stop=stop, notice=notices.append)
    words = list(listener)
    timer.join()
    return words, listener, notices


def test_words_from_a_microphone(sd):
    words, listener, notices = listen(1.2)
    assert [w.label for w in words] == ["loud"] and 1 < words[0].time_s < 1.5
    totals = listener.totals
    assert notices == [] and totals.lost == 0 and totals.delivered > 3
    assert totals.delivered == pytest.approx(totals.heard + totals.left)


@pytest.mark.parametrize("device", [1, "1", "Made", None])
def test_a_device_by_number_by_name_or_the_default(sd, device):
    words, _, _ = listen(1.0, device=device)
    assert [w.label for w in words] == ["loud"]


@pytest.mark.parametrize("device, text", [
    (0, "there is no microphone '0'"), ("7", "there is no microphone '7'"),
    ("Nope", "no microphone 'Nope' .No input device matching 'Nope'.*--list-devices")])
def test_a_device_that_is_not_there(sd, device, text):
    with pytest.raises(AudioError, match=text) as error:
        list(Listener(Board(), Microphone(device)))
    assert "\n" not in str(error.value)


def test_no_device_at_all(sd):
    sd.card.gone_until = time.monotonic() + 1000
    with pytest.raises(AudioError, match=r"there is no microphone .*--list-devices"):
        list(Listener(Board(), None))
    assert microphones() == []


def test_a_card_that_knows_its_own_rate_only(sd):
    sd.card.rate, sd.card.samples = 48000, sound(3, (1.0,), 48000)
    words, listener, _ = listen(1.2)
    assert listener.source.rate == 48000 and [w.label for w in words] == ["loud"] and 1 < words[0].time_s < 1.5


def test_a_card_with_stereo_only(sd):
    sd.card.channels = 2
    words, _, _ = listen(1.0)
    assert [w.label for w in words] == ["loud"]


def test_a_card_that_gives_nothing_that_can_be_used(sd):
    sd.card.rates = (123,)
    with pytest.raises(AudioError, match="gives neither 16000 Hz nor 16000 Hz; choose another --device"):
        list(Listener(Board(), None))


@pytest.mark.parametrize("clock, lost", [(True, 5000), (False, 256)])
def test_an_overflow_is_counted(sd, clock, lost):
    """By the card's clock, and without one as a block at least."""
    sd.card.overflow_at, sd.card.overflow, sd.card.clock = 30_000, 5000, clock
    _, listener, notices = listen(1.2)
    assert [n.kind for n in notices] == ["sound-lost"]
    assert notices[0].text.startswith("the sound card lost sound, as this machine is too busy: lost ")
    assert notices[0].sound_s == pytest.approx(lost / RATE)
    totals = listener.totals
    assert lost / RATE <= totals.lost < lost / RATE + 0.032 and totals.gaps == 1
    assert totals.delivered == pytest.approx(totals.heard + totals.lost + totals.left)


@pytest.mark.parametrize("stays", [False, True])
def test_an_unplugged_microphone_comes_back(sd, stays, monkeypatch):
    """At 0.5 s, for 1.2 s; where the driver does not say so, silence of a while does."""
    monkeypatch.setattr(microphone, "SILENT_S", 0.5)
    sd.card.unplug, sd.card.stays, sd.card.speed = (0.5, 1.2), stays, 1.0
    words, listener, notices = listen(5.5)
    assert [n.kind for n in notices] == ["source-lost", "source-back"]
    assert "lost the microphone; check its cable; trying again every second" in notices[0].text
    assert notices[1].text.startswith("the microphone is back: lost ")
    assert 1.1 < notices[1].sound_s < 3.2
    totals = listener.totals
    assert notices[1].sound_s <= totals.lost < notices[1].sound_s + 0.032 and totals.gaps == 1
    assert totals.delivered == pytest.approx(totals.heard + totals.lost + totals.left) and totals.delivered > 3.7
    # the card goes on where it was: the word comes by so much later
    assert [w.label for w in words] == ["loud"]
    assert 1 + totals.lost - 0.1 < words[0].time_s < 1.5 + totals.lost
    assert sd.card.opened == 2


def test_stopping_while_it_is_away(sd):
    sd.card.unplug = (0.2, 1000)
    began = time.monotonic()
    words, _, notices = listen(0.8)
    assert words == [] and time.monotonic() - began < 10
    assert [n.kind for n in notices] == ["source-lost"]


def test_a_list_of_microphones(sd):
    (found,) = microphones()
    assert (found.number, found.name, found.channels, found.rate, found.default) == (
        1, "USB Made Microphone", 1, 16000.0, True)


def test_nothing_means_the_default_microphone(sd):
    source = source_of(None, RATE)
    assert isinstance(source, Microphone) and source.name == "the microphone"


@pytest.mark.parametrize("error, text", [
    (ModuleNotFoundError("No module named 'sounddevice'"), r"pip install 'tidegate\[audio\]'; or pipe"),
    (OSError("PortAudio library not found"), "PortAudio library not found.*apt install libportaudio2, or pipe")])
def test_what_is_not_installed(monkeypatch, error, text):
    real = builtins.__import__

    def fake(name, *rest, **options):
        if name == "sounddevice":
            raise error
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", fake)
    for use in (microphones, lambda: list(Listener(Board(), None))):
        with pytest.raises(AudioError, match=text) as caught:
            use()
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("_sounddevice") is None, reason="sounddevice is not installed")
@pytest.mark.skipif(not ctypes.util.find_library("portaudio"), reason="PortAudio is not installed")
@pytest.mark.skipif(not Path("/usr/share/alsa/alsa.conf").exists(), reason="ALSA is not installed")
def test_the_real_portaudio_with_a_device_that_is_a_file(tmp_path):
    """ALSA's plug-in for files makes an input device; the real sounddevice and PortAudio open it."""
    import os
    import subprocess

    (sound(20, (1.0, 3.0)).clip(-0.9, 0.9) * 32767).astype("<i2").tofile(tmp_path / "in.raw")
    config = tmp_path / "asound.conf"
    config.write_text(f"""</usr/share/alsa/alsa.conf>
pcm.made {{ type file slave.pcm null file /dev/null infile {tmp_path / "in.raw"} format raw }}
pcm.!default {{ type plug slave {{ pcm made format S16_LE rate 16000 channels 1 }} }}
""")
    program = """if True:
        import threading
        from listening import Board
        from tidegate.host.listen import Listener
        stop = threading.Event()
        threading.Timer(3, stop.set).start()
        listener = Listener(Board(), None, stop=stop)
        print([w.label for w in listener], listener.totals.delivered > 5)
    """
    folder = tmp_path / "modules"       # without the made sounddevice
    folder.mkdir()
    for name in ("listening.py", "command.py", "models.py"):
        (folder / name).write_text(Path(__file__).with_name(name).read_text())
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path,
                          env=os.environ | {"ALSA_CONFIG_PATH": str(config), "PYTHONPATH": str(folder)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['loud', 'loud'] True"


def test_samples_of_a_callback_are_copied(sd):
    """The made card overwrites its block with NaN after the callback, as PortAudio uses it again."""
    source = Microphone()
    source.open(threading.Event())
    stop = threading.Event()
    for k, piece in enumerate(source.pieces(stop)):
        assert np.isfinite(piece.samples).all()
        if k == 20:
            stop.set()
    source.close()
    source.close()
