"""The bundled clips are complete, of one kind and small."""

import numpy as np
import pytest
import soundfile

from tidegate import load_model
from tidegate.clips import FOLDER, clips
from tidegate.clips.make_clips import OTHERS, WORDS
from tidegate.host.features import features_of
from tidegate.spec.errors import ModelError
from tidegate.spec.stop import SILENCE


def test_every_word_is_there_and_every_file_is_listed():
    listed = clips()
    words = [c.word for c in listed]
    assert {w: words.count(w) for w in WORDS} == dict.fromkeys(WORDS, 3)
    assert set(words) == {*WORDS, *OTHERS, SILENCE}
    assert sorted(c.path for c in listed) == sorted(FOLDER.glob("*.flac"))


def test_format_and_size():
    for clip in clips():
        samples, rate = soundfile.read(clip.path, always_2d=True)
        assert (rate, samples.shape) == (16000, (16000, 1)), clip.path
        loud = np.flatnonzero(np.abs(samples[:, 0]) > 0.02)
        assert (len(loud) == 0) == (clip.word == SILENCE)
        assert len(loud) == 0 or (loud[0] > 1600 and loud[-1] < 14400), clip.path     # quiet at both ends
    assert sum(c.path.stat().st_size for c in clips()) <= 1_000_000


def test_features_of_takes_the_name_of_a_model():
    path = clips()[0].path
    assert np.array_equal(features_of("commands", path), features_of(load_model("commands"), path))
    with pytest.raises(ModelError, match="no model 'nothing'"):
        features_of("nothing", path)
