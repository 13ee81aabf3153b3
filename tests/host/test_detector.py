import math
from dataclasses import replace

import numpy as np
import pytest
from listening import model as listening_model
from models import random_model

from tidegate.host.detector import DEFAULTS, Detection, Detector, DetectorSettings, listening_stop
from tidegate.host.frontend import FrontEndSettings
from tidegate.spec.errors import ModelError, TidegateError
from tidegate.spec.model import Model
from tidegate.spec.stop import UNDECIDED, Stop, decisions

FRONTEND = FrontEndSettings(sample_rate=1000, window_ms=20, hop_ms=10, bands=4, high_hz=500)      # 100 frames/s
LABELS = ("yes", "no", "unknown", "silence")
PLAIN = DetectorSettings(smooth=0, threshold=0.8, release=0.5, refractory_s=0.0)
LEAD = math.log(0.8 / 0.2)


def logits_of(**curves):
    """Logits (T, classes): of each label its curve of leads over 0, the logit of all others."""
    logits = np.zeros((max(map(len, curves.values())), len(LABELS)))
    for label, curve in curves.items():
        logits[: len(curve), LABELS.index(label)] = curve
    return logits


def detect(logits, settings=PLAIN, labels=LABELS):
    return [(d.frame, d.label) for d in Detector(labels, FRONTEND, settings).accept(logits)]


def test_a_rise_is_one_detection_until_the_lead_was_low():
    low, high = LEAD / 2, LEAD
    yes = [0, high - 0.05, high + 0.05, 3, low + 0.05, 3, low + 0.05, 3, low - 0.05, high - 0.05, high + 0.05, 3]
    assert detect(logits_of(yes=yes)) == [(2, "yes"), (10, "yes")]
    (d, _) = Detector(LABELS, FRONTEND, PLAIN).accept(logits_of(yes=yes))
    assert isinstance(d, Detection) and d.probability == pytest.approx(1 / (1 + math.exp(-high - 0.05)), abs=0.01)
    assert d.time_s == pytest.approx(0.04)      # frame 2: samples 20 to 40 at 1 kHz


def test_logits_are_smoothed_from_nothing():
    settings = DetectorSettings(smooth=2, threshold=0.8, refractory_s=0)
    assert detect(logits_of(yes=[2.0] * 9), settings) == [(4, "yes")]     # 2·(1 − 0.75**5) = 1.53 > 1.39
    assert detect(logits_of(yes=[2.0] * 4 + [0] * 9), settings) == []     # 2·(1 − 0.75**4) = 1.37
    assert detect(logits_of(yes=[8.0]), settings) == [(0, "yes")]


def test_refractory_time_drops_rises_of_all_keywords():
    yes, no = [0, 3, 0, 0, 0, 0, 0, 3], [0, 0, 0, 3, 0, 3, 0, 0]
    curves = logits_of(yes=yes, no=no)
    assert detect(curves) == [(1, "yes"), (3, "no"), (5, "no"), (7, "yes")]
    assert detect(curves, replace(PLAIN, refractory_s=0.01)) == [(1, "yes"), (3, "no"), (5, "no"), (7, "yes")]
    assert detect(curves, replace(PLAIN, refractory_s=0.02)) == [(1, "yes"), (5, "no")]
    assert detect(curves, replace(PLAIN, refractory_s=0.05)) == [(1, "yes"), (7, "yes")]
    # A rise in the refractory time is not reported late, however long the keyword stays likely.
    late = logits_of(yes=[0, 3, 0], no=[0, 0, *[3] * 20])
    assert detect(late, replace(PLAIN, refractory_s=0.05)) == [(1, "yes")]


def test_unknown_and_silence_are_never_reported():
    assert detect(logits_of(unknown=[0, 3, 0, 3], silence=[3, 0, 3, 0])) == []
    assert detect(logits_of(unknown=[0, 3, 0, 3]), labels=("a", "b", "c", "d")) == [(1, "c"), (3, "c")]
    with pytest.raises(TidegateError, match="without keywords"):
        Detector(("unknown", "silence"), FRONTEND)
    with pytest.raises(TidegateError, match="must come last"):
        Detector(("unknown", "yes", "silence"), FRONTEND)


@pytest.mark.parametrize("smooth", [0, 3])
def test_the_detections_do_not_depend_on_the_blocks(smooth):
    rng = np.random.default_rng(smooth)
    logits = 4 * np.sin(np.cumsum(rng.normal(0, 0.2, (4000, 4)), 0))
    settings = DetectorSettings(smooth, 0.7, 0.6, 0.1)
    whole = Detector(LABELS, FRONTEND, settings).accept(logits)
    assert len(whole) > 15 and {d.label for d in whole} == {"yes", "no"}
    cut = Detector(LABELS, FRONTEND, settings)
    for _ in range(2):
        found, at = [], 0
        while at < len(logits):
            size = int(rng.integers(0, 9)) if rng.random() < 0.9 else 300
            found += cut.accept(logits[at : at + size])
            at += size
        assert found == whole
        cut.reset()


def test_integers_are_what_a_model_answers():
    settings = FrontEndSettings()
    model = random_model(features=settings.bands)
    model = Model(model.network, model.tensors, LABELS, settings.to_dict())
    real = logits_of(yes=[0, 3, 3, 0, 0, 3])
    detector = Detector.of(model, PLAIN)
    assert [d.frame for d in detector.accept(np.round(real * 2**14).astype(np.int32))] == [1, 5]     # weight_frac 6
    assert [d.time_s for d in detector.accept(real)] == pytest.approx([0.016 * t + 0.032 for t in (7, 11)])
    # on a board the same rule gives the same frames
    noise = np.random.default_rng(1).normal(0, 20_000, (3000, 4)).cumsum(0).astype(np.int64) % (1 << 20)
    found = decisions(noise[:, None], listening_stop(model, PLAIN))[:, 0]
    assert [(d.frame, d.label) for d in Detector.of(model, PLAIN).accept(noise)] == \
        [(t, LABELS[found[t]]) for t in np.flatnonzero(found != UNDECIDED)] != []


def test_a_model_may_bring_its_own_settings():
    settings = FrontEndSettings()
    model = random_model(features=settings.bands)
    own = DetectorSettings(2, 0.95, 0.25, 0.5)
    model = Model(model.network, model.tensors, LABELS, settings.to_dict())
    assert DetectorSettings.of(model) == DEFAULTS and Detector.of(model).stop == listening_stop(model, DEFAULTS)
    taught = replace(model, detector=listening_stop(model, own))
    assert taught.digest != model.digest
    assert Detector.of(taught).stop == listening_stop(taught) == listening_stop(model, own)
    told = DetectorSettings.of(taught)
    assert (told.smooth, told.refractory_s) == (2, pytest.approx(0.5, abs=0.01))
    assert (told.threshold, told.release) == (pytest.approx(0.95, abs=0.001), pytest.approx(0.25, abs=0.01))
    with pytest.raises(ModelError, match="a model's detector is a stop rule for streams"):
        replace(model, detector=Stop(3))


def test_a_threshold_leaves_the_rest_of_a_models_own_rule_as_it_is():
    own = Stop(2176, 40, 1, True, 2, 999)
    kept = replace(listening_model(), detector=own)
    assert listening_stop(kept) == own
    other = listening_stop(kept, threshold=0.9)
    assert (other.classes, other.hold, other.smooth) == (own.classes, own.hold, own.smooth)
    assert other.margin == round(math.log(9) * (1 << kept.network.classifier.weight_frac))
    assert other.release == round(999 / 2176 * other.margin)


def test_one_class_has_nothing_to_compare():
    with pytest.raises(TidegateError, match="one class detects nothing"):
        Detector(("yes",), FRONTEND)


def test_a_model_without_front_end_has_no_detector():
    with pytest.raises(TidegateError, match="no feature front end"):
        Detector.of(random_model())


def test_what_cannot_be_used_is_refused_and_not_taken_in():
    detector = Detector(LABELS, FRONTEND, PLAIN)
    for bad, reason in ((np.zeros((3, 5)), "shape"), (np.zeros(4), "shape"), (np.full((2, 4), np.nan), "NaN")):
        with pytest.raises(TidegateError, match=reason):
            detector.accept(bad)
    assert detector.accept(logits_of(yes=[0, 3]))[0].frame == 1
    for wrong in ({"smooth": -1}, {"smooth": 4}, {"smooth": 0.5}, {"threshold": 0.4}, {"threshold": 1.0},
                  {"threshold": float("nan")}, {"release": -0.1}, {"release": 1.1}, {"refractory_s": -1},
                  {"refractory_s": float("nan")}, {"refractory_s": float("inf")}):
        with pytest.raises(TidegateError):
            DetectorSettings(**wrong)
    with pytest.raises(TidegateError, match=r"more than the 2\.55 s that a board can hold off"):
        Detector(LABELS, FRONTEND, DetectorSettings(refractory_s=3))
