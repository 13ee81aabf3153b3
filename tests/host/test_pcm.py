"""Raw PCM and WAV on a pipe, as recorders write them."""

import io
import os
import struct
import threading
import time

import numpy as np
import pytest
import soundfile
from listening import sound

from tidegate.host.audio import AudioError
from tidegate.host.pcm import FORMATS, PcmPipe, parse_wav

SAMPLES = (sound(1.0, (0.2,)) * 0.5).clip(-0.99, 0.99)


def encoded(samples: np.ndarray, format: str) -> bytes:
    scale = {"S16_LE": 1 << 15, "S32_LE": 1 << 31, "F32_LE": 1}[format]
    return (samples.astype(np.float64) * scale).astype(FORMATS[format]).tobytes()


def read(data: bytes, chunk: int = 1000, pause: float = 0.0, **options):
    """What a pipe into which ``data`` is written in chunks gives: (pipe, samples, texts of notices)."""
    out, into = os.pipe()

    def write():
        for k in range(0, len(data), chunk):
            try:
                os.write(into, data[k : k + chunk])
            except BrokenPipeError:
                break
            time.sleep(pause)
        os.close(into)

    thread = threading.Thread(target=write)
    thread.start()
    source, stop = PcmPipe(out, **options), threading.Event()
    try:
        source.open(stop)
        pieces = list(source.pieces(stop))
    finally:
        os.close(out)
        thread.join()
    return source, np.concatenate([p.samples for p in pieces]), [p.notice.text for p in pieces if p.notice]


@pytest.mark.parametrize("format, lsb", [("S16_LE", 2.0**-15), ("S32_LE", 2.0**-24), ("F32_LE", 0)])
@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_formats_however_the_pipe_is_cut(format, lsb, chunk):
    samples = SAMPLES[:2000] if chunk == 1 else SAMPLES
    source, got, notices = read(encoded(samples, format), chunk, format=format, rate=48000)
    assert got.dtype == np.float32 and got.shape == samples.shape and np.abs(got - samples).max() <= lsb
    assert source.rate == 48000 and source.live and notices == []


def test_stereo_is_averaged():
    both = np.stack([SAMPLES, -SAMPLES / 2], 1)
    _, got, _ = read(encoded(both, "F32_LE"), 999, format="F32_LE", channels=2)
    assert np.allclose(got, SAMPLES / 4, atol=1e-7)


def wav(samples: np.ndarray, subtype: str, rate: int = 22050, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype=subtype, format=kind)
    return file.getvalue()


@pytest.mark.parametrize("subtype, format", [("PCM_16", "S16_LE"), ("PCM_32", "S32_LE"), ("FLOAT", "F32_LE")])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_a_wav_header_holds_in_place_of_the_options(subtype, format, kind, chunk):
    samples = SAMPLES[:2000]
    source, got, notices = read(wav(samples, subtype, kind=kind), chunk, rate=8000)
    assert (source.format, source.rate, source.channels) == (format, 22050, 1)
    assert got.shape == samples.shape and np.abs(got - samples).max() <= 2.0**-15
    assert notices == [f"the pipe is a WAV: {format}, 22050 Hz, 1 channel"]


def header(size: int, rate: int = 16000, bits: int = 16, tag: int = 1, channels: int = 1, riff: int = 0) -> bytes:
    frame = bits // 8 * channels
    return (struct.pack("<4sI4s4sIHHIIHH", b"RIFF", riff, b"WAVE", b"fmt ", 16, tag, channels, rate, rate * frame,
                        frame, bits) + struct.pack("<4sI", b"data", size))


def test_a_pipe_that_ends_before_its_header_says():
    _, got, notices = read(header(4 * 2 * len(SAMPLES)) + encoded(SAMPLES, "S16_LE"))
    assert len(got) == len(SAMPLES)
    missing = 3 * len(SAMPLES) / 16000
    assert notices[-1].endswith(f"ended {missing:.2f} s before the length that its header states")


def test_a_size_that_is_no_number_of_frames_ends_the_sound():
    size = 2 * len(SAMPLES)
    _, got, notices = read(header(size + 1) + encoded(SAMPLES, "S16_LE") + b"LIST and more that is no sound")
    assert len(got) == len(SAMPLES) and not any("sample;" in text for text in notices)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_recorder_that_does_not_know_how_long_it_will_record(size):
    _, got, notices = read(header(size) + encoded(SAMPLES, "S16_LE"))
    assert len(got) == len(SAMPLES) and notices == []


def test_what_follows_the_samples_of_a_wav_is_not_heard():
    data = encoded(SAMPLES, "S16_LE")
    _, got, _ = read(header(len(data)) + data + b"LIST" + bytes(range(100)))
    assert len(got) == len(SAMPLES)


def test_other_chunks_before_the_samples_are_skipped():
    plain = header(0)
    odd = plain[:36] + struct.pack("<4sI", b"LIST", 5) + b"hello\0" + plain[36:]
    _, got, _ = read(odd + encoded(SAMPLES, "S16_LE"), 11)
    assert np.abs(got - SAMPLES).max() <= 2.0**-15


@pytest.mark.parametrize("data, text", [
    (b"", "ended before any sound came"), (b"\0", "ended before any sound came"),
    (header(0), "ended before any sound came"), (header(0)[:30], "begins as a WAV, but no samples follow"),
    (header(0, bits=24) + bytes(100), "24 bits"), (header(0, tag=6) + bytes(100), "format 6"),
    (header(0, channels=6) + bytes(100), "6 channels"),
    (b"RIFF\0\0\0\0WAVE" + b"junk" + struct.pack("<I", 0xFFFFFF0) + bytes(200_000), "no samples follow"),
    (b"RIFF\0\0\0\0WAVEdata" + bytes(100), "without a format")])
def test_what_is_no_sound(data, text):
    with pytest.raises(AudioError, match=text) as error:
        read(data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind, name", [("FLAC", "FLAC"), ("OGG", "Ogg"), ("AIFF", "AIFF")])
def test_a_file_of_another_kind_is_no_pcm(kind, name):
    file = io.BytesIO()
    soundfile.write(file, SAMPLES, 16000, format=kind)
    with pytest.raises(AudioError, match=f"holds {name}, and no raw PCM or WAV; give the file by its name"):
        read(file.getvalue())


def test_a_wrong_format_is_found_out():
    with pytest.raises(AudioError, match="gives no sound as F32_LE samples; check its --format"):
        read(np.random.default_rng(0).integers(-(1 << 15), 1 << 15, 5000).astype("<i2").tobytes(), format="F32_LE")


def test_half_a_sample_at_the_end_is_reported():
    _, got, notices = read(encoded(SAMPLES, "S32_LE") + b"\1\2\3", format="S32_LE")
    assert len(got) == len(SAMPLES)
    assert notices == ["the pipe ended inside a sample; 3 bytes of it were left out"]


@pytest.mark.parametrize("options, text", [
    ({"format": "U8"}, "no sample format 'U8'; choose S16_LE, S32_LE, F32_LE"), ({"rate": 0}, "1000 samples per"),
    ({"channels": 3}, "1 or 2 channels"), ({"channels": 0}, "1 or 2 channels")])
def test_options_that_make_no_sense(options, text):
    with pytest.raises(AudioError, match=text):
        PcmPipe(0, **options)


def test_a_closed_descriptor_and_a_terminal():
    out, into = os.pipe()
    os.close(out)
    os.close(into)
    with pytest.raises(AudioError, match="is closed"):
        PcmPipe(out).open(threading.Event())
    master, slave = os.openpty()
    with pytest.raises(AudioError, match="is a terminal"):
        PcmPipe(slave).open(threading.Event())
    os.close(master)
    os.close(slave)


def test_it_can_be_stopped_while_nothing_comes():
    out, into = os.pipe()
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    source = PcmPipe(out)
    source.open(stop)
    assert list(source.pieces(stop)) == [] and time.monotonic() - began < 10
    os.close(into)
    os.close(out)


def test_a_header_in_any_number_of_bytes():
    whole = header(0) + bytes(8)
    for k in range(12, 44):
        assert parse_wav(whole[:k], "x") is None
    assert parse_wav(whole, "x").start == 44
