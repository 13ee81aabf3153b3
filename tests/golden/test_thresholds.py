"""The search for Θ and the report of a conversion."""

import json

import numpy as np
import pytest
import torch

import tidegate
from tidegate.golden import Golden
from tidegate.golden.calibration import normalisation
from tidegate.golden.conversion import DEVIATIONS, FACTORS
from tidegate.golden.convert import ConversionWarning, convert
from tidegate.golden.figures import figures
from tidegate.spec.errors import ModelError


def task(kind=torch.nn.GRU, layers=1, n=80):
    """A network and sequences (n, 24, 8) that move slowly, with the network's own answers as the right ones."""
    torch.manual_seed(1)
    rnn, linear = kind(8, 24, layers, batch_first=True), torch.nn.Linear(24, 3)
    rng = np.random.default_rng(0)
    x = (np.repeat(rng.normal(0, 1, (n, 4, 8)), 6, 1) + rng.normal(0, 0.1, (n, 24, 8))).astype(np.float32)
    with torch.no_grad():
        y = linear(rnn(torch.from_numpy(x))[0][:, -1]).argmax(1).numpy()
    return rnn, linear, x, y


def reduction(model, x):
    return figures(model.network, Golden(model).run(model.quantise(x).transpose(1, 0, 2)).events).fetch_reduction


@pytest.mark.parametrize("wanted", [2, 4, 8])
@pytest.mark.parametrize("right", [True, False])
def test_a_wanted_fetch_reduction_is_met(wanted, right):
    rnn, linear, x, y = task()
    made = convert(rnn, linear, calibration=x, targets=y if right else None, fetch_reduction=wanted, readout="last",
                   warn=False)
    assert wanted <= reduction(made.model, x) < 1.1 * wanted
    assert made.report.point.fetch_reduction == pytest.approx(reduction(made.model, x))
    assert made.report.point.agreement > (0.9 if wanted < 8 else 0.75)
    assert made.report.float_accuracy == (1.0 if right else None)


def test_the_search_is_no_worse_than_equal_thresholds():
    rnn, linear, x, y = task(layers=2)
    made = convert(rnn, linear, calibration=x, targets=y, fetch_reduction=5, warn=False)
    equal = [convert(rnn, linear, thresholds=[theta] * 3, calibration=x, targets=y, warn=False).report.point
             for theta in range(4, 64, 2)]
    assert made.report.point.loss <= min(p.loss for p in equal if p.fetch_reduction >= 5) + 1e-3


def test_a_loss_that_may_be_had():
    rnn, linear, x, y = task()
    small, large = (convert(rnn, linear, calibration=x, targets=y, max_loss=most, warn=False).report.point
                    for most in (0, 10))
    assert small.accuracy == 1.0 and large.accuracy >= 0.9
    assert 1 < small.fetch_reduction < large.fetch_reduction


@pytest.mark.parametrize("kind", [torch.nn.GRU, torch.nn.LSTM, torch.nn.RNN])
def test_the_report(kind):
    rnn, linear, x, y = task(kind, layers=2)
    made = convert(rnn, linear, calibration=x, targets=y, thresholds=(30, 10, 10), warn=False)
    report = made.report
    assert [s.name for s in report.signals] == ["features", "layer 0", "layer 1", "logits"]
    assert [factor for factor, _ in report.table] == list(FACTORS)
    for s in report.signals:
        assert s.rounding_db > 25 and s.snr_db < s.rounding_db and s.saturated == 0
    read = sum(s.weights for s in report.signals[:-1])
    assert made.model.network.dense_weights / read == pytest.approx(report.point.fetch_reduction)
    assert made.model.card["conversion"] == report.to_dict()
    assert json.loads(json.dumps(report.to_dict()))["sequences"] == 80
    assert report.to_dict()["occupancy"] == [s.occupancy for s in report.signals[:-1]]
    assert "80 sequences, 1920 frames" in report.text() and not report.by_deviation
    for word in ("layer 1", "Θ factor", "fetch reduction", "accuracy"):
        assert word in report.text()
    plain = tidegate.from_torch(rnn, linear, (30, 10, 10), calibration=x, targets=y)
    assert plain.digest == made.model.digest and plain.card == made.model.card


def test_it_is_said_that_a_part_of_the_data_is_looked_at():
    rnn, linear, x, y = task(n=600)
    report = convert(rnn, linear, calibration=x, targets=y, warn=False).report
    assert (report.sequences, report.given) == (416, 600)
    assert "compared with float on 416 of 600 sequences (taken evenly" in report.text()
    model = convert(rnn, linear, calibration=x, thresholds=(90, 40), warn=False).model
    found = tidegate.compare_float(model, torch.nn.ModuleList([rnn, linear]), x[::-1].copy(), targets=y[::-1])
    assert "416 of 600 sequences" in found.text() and max(v.sequence for v in found.values) > 416


def test_a_departure_is_named_by_its_place_in_the_data():
    rnn, linear, x, _ = task(n=150)
    model, module = convert(rnn, linear, calibration=x, warn=False).model, torch.nn.ModuleList([rnn, linear])
    long = np.zeros((2600, 8), np.float32) + x.mean((0, 1))
    long[2345] = 40
    found = tidegate.compare_float(model, module, [x[0], long])
    at = found.first.at
    assert (at.sequence, at.frame) == (1, 2345) and "in frame 2345 of sequence 1" in found.text()


def test_without_theta_the_table_has_multiples_of_the_deviations():
    rnn, linear, x, y = task()
    for thresholds in (None, (0, 0)):
        report = convert(rnn, linear, calibration=x, targets=y, thresholds=thresholds, warn=False).report
        assert report.by_deviation and [factor for factor, _ in report.table] == list(DEVIATIONS)
        assert "Multiples of the standard deviation" in report.text()
        reductions = [point.fetch_reduction for _, point in report.table]
        assert reductions == sorted(reductions) and reductions[-1] > 3 * reductions[0]
    small = convert(rnn, linear, calibration=x, targets=y, thresholds=(1, 0), warn=False).report
    points = [point.thresholds for _, point in small.table]
    assert len(set(points)) == len(points) and (1, 0) in points         # no row twice


@pytest.mark.parametrize("wrong", [np.int16, np.uint8, np.int64, bool, complex, str])
def test_calibration_data_are_floats(wrong):
    rnn, linear, x, _ = task()
    with pytest.raises(ModelError, match=r"the calibration data are .*; give features .* as floats"):
        convert(rnn, linear, calibration=(100 * x).astype(wrong))
    with pytest.raises(ModelError, match="as floats"):
        convert(rnn, linear, calibration=[part[: 9 + n % 2].astype(wrong) for n, part in enumerate(x)])


def test_calibration_data_that_reach_further_than_8_deviations_do_not_saturate():
    rnn, linear, x, _ = task()
    x = x.copy()
    x[3, 5, 2] = 14 * x[..., 2].std()
    made = convert(rnn, linear, calibration=x, warn=False)
    assert made.model.saturated(x) == 0 and made.report.signals[0].rounding_db > 40
    _, scale = normalisation(x.reshape(-1, 8).astype(np.float64))
    usual = 1 / x.reshape(-1, 8).astype(np.float64).std(0)
    assert scale[2] < usual[2] and np.allclose(np.delete(scale, 2), np.delete(usual, 2))


def test_sequences_of_any_length_and_targets_of_every_frame():
    rnn, linear, x, y = task()
    ragged = [piece[: 10 + n % 10] for n, piece in enumerate(x)]
    report = convert(rnn, linear, calibration=ragged, targets=y, warn=False).report
    assert report.readout == "last" and report.frames == sum(map(len, ragged)) and report.answers == 80
    per_frame = [np.full(len(piece), target) for piece, target in zip(ragged, y, strict=True)]
    report = convert(rnn, linear, calibration=ragged, targets=per_frame, warn=False).report
    assert report.readout == "frames" and report.answers == report.frames
    report = convert(rnn, linear, calibration=x.reshape(-1, 8), warn=False).report
    assert report.readout == "frames" and report.frames == x.shape[0] * x.shape[1]
    for targets in (y[:-1], y + 3, y * 0.5, [y[0]] * 79 + [np.zeros(24, int)]):
        with pytest.raises(ModelError, match="target"):
            convert(rnn, linear, calibration=x, targets=targets)


def test_warnings_say_what_to_do():
    rnn, linear, x, y = task()
    with pytest.warns(ConversionWarning, match="answers differ from the float network's at this Θ; ask for a smaller"):
        tidegate.from_torch(rnn, linear, thresholds=(900, 200), calibration=x, targets=y)
    with pytest.warns(ConversionWarning, match="saturate, most of feature 2; normalise"):
        x = x.copy()
        x[:, :, 2] *= 100
        tidegate.from_torch(rnn, linear, calibration=x, mean=np.zeros(8), scale=np.ones(8))
    with pytest.warns(ConversionWarning, match="5 answers say little"):
        tidegate.from_torch(rnn, linear, calibration=x[:5], targets=y[:5])
