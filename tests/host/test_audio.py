import os
import warnings

import numpy as np
import pytest
import soundfile

from tidegate.host.audio import AudioError, AudioWarning, Resampler, mono, read_audio, resample


def tone(rate, seconds=0.5, hertz=440.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def test_float_wav_comes_back_exactly(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(8000), 8000, subtype="FLOAT")
    samples = read_audio(tmp_path / "a.wav", 8000)
    assert samples.dtype == np.float32 and np.array_equal(samples, tone(8000))


@pytest.mark.parametrize("name, subtype", [
    ("a.flac", None), ("a.ogg", "OPUS"), ("a.ogg", "VORBIS"), ("a.mp3", None), ("a.aiff", None)])
def test_compressed_formats(tmp_path, name, subtype):
    soundfile.write(tmp_path / name, tone(16000), 16000, subtype)
    samples = read_audio(tmp_path / name, 16000)
    assert samples.shape == (8000,)
    assert np.corrcoef(samples[400:-400], tone(16000)[400:-400])[0, 1] > 0.98


def test_stereo_is_averaged_and_more_is_refused(tmp_path):
    left, right = tone(8000), tone(8000, hertz=1000.0)
    soundfile.write(tmp_path / "2.wav", np.stack([left, right], 1), 8000, subtype="FLOAT")
    assert np.array_equal(read_audio(tmp_path / "2.wav", 8000), (left + right) / 2)
    soundfile.write(tmp_path / "3.wav", np.stack([left] * 3, 1), 8000)
    with pytest.raises(AudioError, match=r"3 channels.*mono"):
        read_audio(tmp_path / "3.wav", 8000)


def test_resampled_on_reading(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(44100), 44100, subtype="FLOAT")
    samples = read_audio(tmp_path / "a.wav", 16000)
    assert samples.shape == (8000,)
    assert np.abs(samples[200:-200] - tone(16000)[200:-200]).max() < 1e-3


@pytest.mark.parametrize("rate, sample_rate", [(44100, 16000), (8000, 16000), (48000, 8000), (16000, 16000)])
def test_streamed_resampling_equals_whole(rate, sample_rate):
    rng, samples = np.random.default_rng(3), tone(rate, 0.7)
    resampler, pieces, at = Resampler(rate, sample_rate), [], 0
    while at < len(samples):
        size = int(rng.integers(1, 3000))
        pieces.append(resampler.accept(samples[at : at + size], last=at + size >= len(samples)))
        at += size
    assert np.array_equal(np.concatenate(pieces), resample(samples, rate, sample_rate))


def write_damaged(path):
    soundfile.write(path, tone(8000), 8000)
    path.write_bytes(path.read_bytes()[:20])


@pytest.mark.parametrize("write, message", [
    (lambda path: None, "no sound file"),
    (lambda path: path.write_bytes(b""), "cannot be read as sound"),
    (lambda path: path.write_text("not a sound"), "cannot be read as sound"),
    (write_damaged, "cannot be read as sound"),
    (lambda path: soundfile.write(path, np.zeros(0, np.float32), 8000), "no samples"),
    (lambda path: soundfile.write(path, np.full(100, np.nan, np.float32), 8000, subtype="FLOAT"), "NaN"),
])
def test_errors_are_one_line(tmp_path, write, message):
    write(tmp_path / "x.wav")
    with pytest.raises(AudioError, match=message) as error:
        read_audio(tmp_path / "x.wav", 8000)
    assert "\n" not in str(error.value) and "x.wav" in str(error.value)


def test_sample_rates_must_be_positive():
    with pytest.raises(AudioError, match="positive"):
        Resampler(0, 16000)


INTEGERS = [(np.int16, "PCM_16"), (np.int32, "PCM_32"), (np.uint8, "PCM_U8"), (">i2", "PCM_16"), (">i4", "PCM_32")]


def integers(dtype, shape=(4000,)):
    """Samples over all of a type's range, both ends included."""
    info = np.iinfo(dtype)
    samples = np.random.default_rng(4).integers(info.min, info.max, shape, np.dtype(dtype).newbyteorder("="), True)
    samples[:2] = np.reshape([info.min, info.max], (2,) + (1,) * (len(shape) - 1))
    return samples.astype(dtype)


@pytest.mark.parametrize("dtype, subtype", INTEGERS, ids=str)
def test_integers_are_scaled_as_a_wav_file_of_their_type_is(tmp_path, dtype, subtype):
    """The scale is libsndfile's: raw bytes as a sound card gives them, read as a file."""
    samples = integers(dtype)
    endian = "BIG" if str(dtype).startswith(">") else "LITTLE"
    (tmp_path / "x.raw").write_bytes(samples.tobytes())
    expected, _ = soundfile.read(tmp_path / "x.raw", dtype="float32", samplerate=8000, channels=1, format="RAW",
                                 subtype=subtype, endian=endian)
    assert np.array_equal(mono(samples), expected) and np.abs(expected).max() == 1
    assert np.array_equal(Resampler(8000, 8000).accept(samples), expected)
    assert np.array_equal(Resampler(8000, 16000).accept(samples), Resampler(8000, 16000).accept(expected))
    stereo = integers(dtype, (4000, 2))
    left, right = mono(stereo[:, 0]), mono(stereo[:, 1])
    assert np.array_equal(mono(stereo), (left + right) / 2)


@pytest.mark.parametrize("samples", [
    np.zeros(9, np.int64), np.zeros(9, np.int8), np.zeros(9, np.uint16), np.zeros(9, bool), np.zeros(9, complex),
    np.zeros(9, object), np.zeros(9, "U1"), np.zeros(9, "datetime64[s]"), [0, 1], "sound", None, [[0.0], [0.0, 1.0]],
], ids=lambda x: str(getattr(x, "dtype", x)))
def test_samples_without_a_known_scale_are_refused(samples):
    resampler = Resampler(8000, 16000)
    for accept in (mono, resampler.accept):
        with pytest.raises(AudioError, match="samples") as error:
            accept(samples)
        assert "\n" not in str(error.value)
    assert np.array_equal(resampler.accept(tone(8000)), Resampler(8000, 16000).accept(tone(8000)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_floats_are_taken_as_they_are(dtype):
    samples = (1.3 * tone(8000) / 0.5).astype(dtype)        # overshoots, as a loud mix does
    assert np.array_equal(mono(samples), samples.astype(np.float32)) and mono(samples).dtype == np.float32


def test_float_samples_that_hold_integers_are_refused(tmp_path):
    loud = 13118 * tone(8000) / 0.5
    soundfile.write(tmp_path / "x.wav", loud, 8000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"x.wav.*reach 13118.*divide them by 32768") as error:
        read_audio(tmp_path / "x.wav", 16000)
    assert "\n" not in str(error.value)
    for accept in (mono, Resampler(8000, 16000).accept):
        with pytest.raises(AudioError, match="reach 13118"):
            accept(loud)
    for fair in (2.6 * tone(8000), 7.9 + 0 * tone(8000), 0.1 * tone(8000) - 3):
        soundfile.write(tmp_path / "x.wav", fair, 8000, subtype="FLOAT")
        assert np.array_equal(read_audio(tmp_path / "x.wav", 8000), fair.astype(np.float32))


def unknown_length(flac: bytes) -> bytes:
    """A FLAC file as an encoder leaves it in a pipe: 36 bits of STREAMINFO, the number of samples, are 0."""
    assert flac[:4] == b"fLaC" and flac[4] & 0x7F == 0
    head = bytearray(flac)
    head[21] &= 0xF0
    head[22:26] = bytes(4)
    return bytes(head)


@pytest.mark.parametrize("samples", [1, 8000, 1 << 16, 100_000, 1 << 17])
def test_flac_of_unknown_length(tmp_path, samples):
    soundfile.write(tmp_path / "a.flac", tone(8000, samples / 8000), 8000)
    (tmp_path / "b.flac").write_bytes(unknown_length((tmp_path / "a.flac").read_bytes()))
    assert soundfile.SoundFile(tmp_path / "b.flac").frames > 1 << 60
    known = read_audio(tmp_path / "a.flac", 8000)
    assert len(known) == samples and np.array_equal(read_audio(tmp_path / "b.flac", 8000), known)


@pytest.mark.parametrize("name, subtype", [("a.wav", "PCM_16"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16"),
                                           ("a.ogg", "OPUS"), ("a.ogg", "VORBIS"), ("a.aiff", "PCM_16")])
def test_reading_in_blocks_is_reading_at_once(tmp_path, name, subtype):
    sound = np.stack([tone(16000, 11), tone(16000, 11, 700)], 1)
    soundfile.write(tmp_path / name, sound, 16000, subtype)
    whole, _ = soundfile.read(tmp_path / name, dtype="float32", always_2d=True)
    assert len(whole) > 2 << 16 and np.array_equal(read_audio(tmp_path / name, 16000), mono(whole))


def cut_wav(path, share, size=None, subtype=None):
    """A WAV file of 8000 samples that ends after a share of them; ``size``: what its header says of its data."""
    soundfile.write(path, tone(8000, 1.0), 8000, subtype, format="AIFF" if path.suffix == ".aiff" else None)
    data = bytearray(path.read_bytes())
    if size is not None:
        at = data.index(b"data") + 4
        data[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(data[: len(data) - round((1 - share) * 2 * 8000)])


@pytest.mark.parametrize("name", ["x.wav", "x.aiff"])
def test_a_sound_that_is_cut_short_is_used_with_a_warning(tmp_path, name):
    cut_wav(tmp_path / name, 1)
    with warnings.catch_warnings(action="error"):
        whole = read_audio(tmp_path / name, 8000)
    cut_wav(tmp_path / name, 0.25)
    with pytest.warns(AudioWarning, match=rf"{name}' is cut short, 25% of it is there") as caught:
        samples = read_audio(tmp_path / name, 8000)
    assert len(caught) == 1 and caught[0].filename == __file__ and "\n" not in str(caught[0].message)
    assert np.array_equal(samples, whole[:2000])
    said = []
    with warnings.catch_warnings(action="error"):
        assert np.array_equal(read_audio(tmp_path / name, 8000, said.append), samples)
    assert said == [str(caught[0].message)]


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0x7FFFF000])
def test_a_wav_from_a_pipe_states_no_length_and_is_not_cut_short(tmp_path, size):
    cut_wav(tmp_path / "x.wav", 0.5, size)
    with warnings.catch_warnings(action="error"):
        assert len(read_audio(tmp_path / "x.wav", 8000)) == 4000


def test_a_file_name_need_not_be_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"gr\xf6\xdfe.wav")
    with open(path, "wb") as file:
        soundfile.write(file, tone(8000), 8000, format="WAV")
    assert read_audio(path, 8000).shape == (4000,)
    path.write_bytes(b"")
    with pytest.raises(AudioError, match="cannot be read as sound"):
        read_audio(path, 8000)


def test_whatever_a_decoder_raises_is_one_line(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "x.wav", tone(8000), 8000)
    for error in (ValueError("array is too big\nreally"), MemoryError(), RuntimeError("x")):
        def broken(*_, error=error, **__):
            raise error

        monkeypatch.setattr(soundfile.SoundFile, "read", broken)
        with pytest.raises(AudioError, match="cannot be read as sound") as caught:
            read_audio(tmp_path / "x.wav", 8000)
        assert "\n" not in str(caught.value)
