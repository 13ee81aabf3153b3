import numpy as np
import pytest
from models import random_model

from tidegate.host.detector import Detection, Detector, DetectorSettings
from tidegate.host.frontend import FrontEndSettings
from tidegate.spec.errors import TidegateError
from tidegate.spec.model import Model

FRONTEND = FrontEndSettings(sample_rate=1000, window_ms=20, hop_ms=10, bands=4, high_hz=500)      # 100 frames/s
LABELS = ("yes", "no", "unknown", "silence")
PLAIN = DetectorSettings(smooth=1, threshold=0.8, release=0.5, refractory_s=0.0)


def logits_of(**curves):
    """Logits whose softmax has the given curves; what is left goes to silence, or to the last label."""
    length = max(map(len, curves.values()))
    p = np.full((length, len(LABELS)), 1e-9)
    for label, curve in curves.items():
        p[: len(curve), LABELS.index(label)] = np.maximum(curve, 1e-9)
    p[:, -1] += 1 - p.sum(1)
    return np.log(np.maximum(p, 1e-12))


def detect(logits, settings=PLAIN, labels=LABELS):
    return [(d.frame, d.label) for d in Detector(labels, FRONTEND, settings).accept(logits)]


def test_a_rise_is_one_detection_until_the_probability_was_low():
    yes = [0, 0.79, 0.81, 0.95, 0.7, 0.9, 0.41, 0.9, 0.39, 0.79, 0.81, 0.95]      # 0.41 is not low enough, below 0.4 is
    assert detect(logits_of(yes=yes)) == [(2, "yes"), (10, "yes")]
    (d, _) = Detector(LABELS, FRONTEND, PLAIN).accept(logits_of(yes=yes))
    assert isinstance(d, Detection) and d.probability == pytest.approx(0.81)
    assert d.time_s == pytest.approx(0.04)      # frame 2: samples 20 to 40 at 1 kHz


def test_smoothing_is_the_mean_over_frames_and_starts_from_nothing():
    steady, peak = [0.9] * 6, [0, 0, 1, 1, 1, 0, 0]
    smooth = DetectorSettings(smooth=4, threshold=0.8, refractory_s=0)
    assert detect(logits_of(yes=steady), smooth) == [(3, "yes")]      # 3 · 0.9 / 4 = 0.675, 4 · 0.9 / 4 = 0.9
    assert detect(logits_of(yes=peak), smooth) == []                  # never above 3/4
    assert detect(logits_of(yes=peak), DetectorSettings(4, 0.7, 0.5, 0)) == [(4, "yes")]


def test_refractory_time_drops_rises_of_all_keywords():
    yes, no = [0, 0.9, 0, 0, 0, 0, 0, 0.9], [0, 0, 0, 0.9, 0, 0.9, 0, 0]
    curves = logits_of(yes=yes, no=no)
    assert detect(curves) == [(1, "yes"), (3, "no"), (5, "no"), (7, "yes")]
    assert detect(curves, DetectorSettings(1, 0.8, 0.5, 0.02)) == [(1, "yes"), (3, "no"), (5, "no"), (7, "yes")]
    assert detect(curves, DetectorSettings(1, 0.8, 0.5, 0.03)) == [(1, "yes"), (5, "no")]
    assert detect(curves, DetectorSettings(1, 0.8, 0.5, 0.05)) == [(1, "yes"), (7, "yes")]
    # A rise in the refractory time is not reported late, however long the keyword stays likely.
    late = logits_of(yes=[0, 0.9, 0], no=[0, 0, *[0.9] * 20])
    assert detect(late, DetectorSettings(1, 0.8, 0.5, 0.05)) == [(1, "yes")]


def test_of_two_rises_in_one_frame_the_likelier_one_counts():
    curves = logits_of(yes=[0, 0.4], no=[0, 0.5])
    assert detect(curves, DetectorSettings(1, 0.3, 0.5, 0.01)) == [(1, "no")]
    assert detect(curves, DetectorSettings(1, 0.3, 0.5, 0.0)) == [(1, "no"), (1, "yes")]


def test_unknown_and_silence_are_never_reported():
    assert detect(logits_of(unknown=[0, 1, 0, 1], silence=[1, 0, 1, 0])) == []
    assert detect(logits_of(unknown=[0, 1, 0, 1]), labels=("a", "b", "c", "d")) == \
        [(0, "d"), (1, "c"), (2, "d"), (3, "c")]
    with pytest.raises(TidegateError, match="without keywords"):
        Detector(("unknown", "silence"), FRONTEND)


@pytest.mark.parametrize("smooth", [1, 5])
def test_the_detections_do_not_depend_on_the_blocks(smooth):
    rng = np.random.default_rng(smooth)
    logits = 4 * np.sin(np.cumsum(rng.normal(0, 0.2, (4000, 4)), 0))
    settings = DetectorSettings(smooth, 0.7, 0.6, 0.1)
    whole = Detector(LABELS, FRONTEND, settings).accept(logits)
    assert len(whole) > 20 and {d.label for d in whole} == {"yes", "no"}
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
    real = logits_of(yes=[0, 0.9, 0.9, 0, 0, 0.9])
    detector = Detector.of(model, PLAIN)
    assert [d.frame for d in detector.accept(np.round(real * 2**14).astype(np.int32))] == [1, 5]     # weight_frac 6
    assert [d.time_s for d in detector.accept(real)] == pytest.approx([0.016 * t + 0.032 for t in (7, 11)])
    with pytest.raises(TidegateError, match="no feature front end"):
        Detector.of(random_model())


def test_what_cannot_be_used_is_refused_and_not_taken_in():
    detector = Detector(LABELS, FRONTEND, PLAIN)
    for bad, reason in ((np.zeros((3, 5)), "shape"), (np.zeros(4), "shape"), (np.full((2, 4), np.nan), "NaN")):
        with pytest.raises(TidegateError, match=reason):
            detector.accept(bad)
    assert detector.accept(logits_of(yes=[0, 0.9]))[0].frame == 1
    for wrong in ({"smooth": 0}, {"threshold": 0}, {"threshold": 1.0}, {"release": 0}, {"release": 1.1},
                  {"refractory_s": -1}, {"refractory_s": float("nan")}):
        with pytest.raises(TidegateError):
            DetectorSettings(**wrong)
