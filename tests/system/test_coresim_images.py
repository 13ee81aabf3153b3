"""Convolutions on the simulated core: integers of golden, cycles of the model, and a fault that is found."""

import os

import numpy as np
import pytest

from tidegate.spec.cells import UNIT
from tidegate.spec.conv import Conv2d
from tidegate.spec.design import SIMULATED, simulated
from tidegate.spec.errors import CapacityError, TidegateError
from tidegate.spec.layer import Layer
from tidegate.spec.layout import Layout
from tidegate.spec.network import Network
from tidegate.spec.register_values import register_values
from tidegate.spec.rules import RULES
from tidegate_sim import coresim
from tidegate_sim.coresim import mismatches, simulate
from tidegate_sim.measure import predicted_cycles
from tidegate_sim.random_networks import filled, random_images

LANES, STEPS = 8, 12
CHANNELS = {8: (1, 2, 3, 5, 8, 16), 16: (1, 3, 8, 16, 32), 64: (1, 5, 16, 64), 128: (2, 40, 128)}


def a_model(rng, lanes: int = LANES):
    layers = int(rng.choice([4, 12]))
    model = filled(random_images(rng, CHANNELS[lanes], RULES[: rng.integers(1, 3)], layers=layers), rng)
    rules = [model.network.rule(s) for s in range(model.network.signals)]
    return model.with_thresholds(*[int(rng.integers(0, 120)) if rule is None else rule.step for rule in rules])


def some_frames(rng, features: int, steps: int = STEPS) -> np.ndarray:
    """Frames (steps, features) of which a part stands still from one to the next."""
    frames, still = rng.integers(-600, 600, (steps, features)), rng.random((steps, features)) < rng.choice([0.3, 0.95])
    for t in range(1, steps):
        frames[t] = np.where(still[t], frames[t - 1], frames[t])
    return frames


def check(seed: int, lanes: int) -> bool:
    """Run a random network of convolutions; False if it does not fit."""
    rng = np.random.default_rng(seed)
    model = a_model(rng, lanes)
    design = simulated(lanes, 1 if len(model.network.layers) <= SIMULATED[lanes].layers else 4)
    try:
        Layout(model.network, design)
    except CapacityError:
        return False
    frames = some_frames(rng, model.network.features)
    dense, apart = bool(rng.integers(4) == 0), bool(rng.integers(3) == 0)
    case = f"seed {seed}, {lanes} lanes, {model.network.shape}"
    run = simulate(design, model, frames, dense=dense, apart=apart)
    assert mismatches(run, design, model, frames, dense=dense) == (0, None), case
    assert run.cycles.tolist() == predicted_cycles(model, design, [frames], dense, apart).tolist(), case
    stalled = simulate(design, model, frames, dense=dense, stalls=0.3, seed=seed, trace=False)
    assert mismatches(stalled, design, model, frames, dense=dense) == (0, None), case
    return True


@pytest.mark.parametrize("seed", range(12))
def test_integers_and_cycles(seed):
    check(1000 + seed, LANES)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_random_convolutions_of_all_lanes():
    """Random kernels, strides, paddings, channels and rules (how many: TIDEGATE_IMAGES)."""
    done, seed, wanted = 0, 0, int(os.environ.get("TIDEGATE_IMAGES", 400))
    while done < wanted:
        lanes = list(SIMULATED)[seed % len(SIMULATED)]
        fits = check(seed, lanes)
        done, seed = done + fits, seed + 1
        if fits and done % 20 == 0:
            print(f"{done} networks, seeds 0 to {seed - 1}: 0 mismatches, cycles as predicted", flush=True)


def test_every_cycle_adds_a_word_where_channels_fill_the_lanes():
    """Events in the middle of an image, a kernel of 3 x 3 and as many channels as lanes: nine words each, no gap."""
    conv = Conv2d(8, 9, 9, 3, 1, 1)
    unit = {"cell": UNIT, "activation": "relu", "recurrent": False}
    network = Network(9 * 9 * 8, (Layer(81 * 8, conv=conv, **unit),), Layer(2), (0, 2047))
    model = filled(network, np.random.default_rng(3))
    frames = np.zeros((4, 9, 9, 8), int)
    for t in range(4):
        frames[t, 2:7, 2:7] = 1 + t % 2
    run = simulate(SIMULATED[LANES], model, frames.reshape(4, -1))
    assert mismatches(run, SIMULATED[LANES], model, frames.reshape(4, -1)) == (0, None)
    words = 25 * 8 * 9
    assert run.weight_words.tolist() == [words] * 4
    assert run.cycles[2] < 1.1 * (words + Layout(network, SIMULATED[LANES]).closing(0)[0])


def test_a_wrong_address_is_found(monkeypatch):
    wrong = {"CONV_KERNEL_ROW0": 1}
    monkeypatch.setattr(coresim, "register_values", lambda layout: register_values(layout) | wrong)
    conv = Conv2d(1, 6, 6, 3, 1, 1)
    network = Network(36, (Layer(36 * 4, cell=UNIT, activation="relu", recurrent=False, conv=conv),), Layer(3), (0, 0))
    model, frames = filled(network, np.random.default_rng(5)), some_frames(np.random.default_rng(6), 36)
    count, first = mismatches(simulate(SIMULATED[LANES], model, frames), SIMULATED[LANES], model, frames)
    assert count > 0 and first is not None and first.layer == 0


@pytest.mark.parametrize("channels, text", [(12, "fits no 8 lanes"), (16, "a channel per lane, up to 8, not 16")])
def test_channels_that_do_not_fit_the_lanes(channels, text):
    conv = Conv2d(channels, 4, 4, 3, padding=1, depthwise=channels == 16)
    layer = Layer(16 * channels, cell=UNIT, activation="relu", recurrent=False, conv=conv)
    network = Network(16 * channels, (layer,), Layer(2), (0, 0))
    with pytest.raises(TidegateError, match=text):
        Layout(network, SIMULATED[8])


def test_a_board_without_a_convolver():
    from tidegate.spec.boards import board_spec

    conv = Conv2d(1, 6, 6, 3)
    network = Network(36, (Layer(16 * 4, cell=UNIT, activation="relu", recurrent=False, conv=conv),), Layer(3), (0, 0))
    with pytest.raises(CapacityError, match="has a convolution, which the board cannot address"):
        Layout(network, board_spec("ulx3s").design(cells=("unit",)))
