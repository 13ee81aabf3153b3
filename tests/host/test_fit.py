"""``tidegate.fit`` from Python: what the verb prints, as data."""

import pytest
from models import random_model

from tidegate import TidegateError, fit, load_model
from tidegate.host.fit import measured_occupancy, network_of
from tidegate.spec.boards import board_spec
from tidegate.spec.cycles import latency_cycles, steady_cycles
from tidegate.spec.layout import Layout


def test_a_shipped_model_by_its_name_and_loaded():
    model = load_model("commands")
    report = fit("commands", "ulx3s")
    assert report == fit(model, "ulx3s") and report["fits"] and report["refusal"] is None
    layout = Layout(model.network, board_spec("ulx3s").design())
    events = [share * n for share, n in zip(measured_occupancy(model) or (), (40, 128), strict=True)]
    assert report["speed"]["cycles"] == steady_cycles(layout, events)
    assert report["speed"]["latency_cycles"] == latency_cycles(layout, events)
    assert report["energy_estimate"]["cycles"]["busy"] == report["speed"]["cycles"]


def test_sizes_and_a_network_with_an_occupancy():
    network, model = network_of("40-128-12", "lstm")
    assert model is None and network.layers[0].cell.name == "lstm"
    assert fit("40-128-12", cell="lstm", occupancy=0.1) == fit(network, occupancy=[0.1, 0.1])
    half = fit(network, occupancy=0.1, clock=50e6)["speed"]
    assert half["frames_per_second"] == pytest.approx(fit(network, occupancy=0.1)["speed"]["frames_per_second"] / 2)


def test_a_network_that_does_not_fit_needs_no_occupancy():
    report = fit("40-600-600-12", lanes=8)
    assert not report["fits"] and report["speed"] is None and report["energy_estimate"] is None
    assert report["refusal"].startswith("the model needs ")


@pytest.mark.parametrize(("occupancy", "text"), [
    (None, "nothing says how often this network fires; give its occupancy"),
    ([0.1] * 2, "one for each of the model's 3 signals"), (1.5, "a share from 0 to 1, not 1.5"),
    ((), "one for each"), ([0.1, -2, 0.1], "a share from 0 to 1, not -2"),
])
def test_occupancies_that_say_nothing(occupancy, text):
    with pytest.raises(TidegateError, match=text):
        fit(random_model(), occupancy=occupancy)
