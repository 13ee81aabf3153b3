"""The cost of a network on a simulated core: delta against dense mode on the same frames, a row per network and lanes.

Every row is checked in the same run: all integers against golden, all cycles against the cycle model.
"""

from collections.abc import Sequence

import numpy as np

from tidegate.host.figures import Cost, comparison
from tidegate.spec.cycles import frame_cycles, steady_cycles
from tidegate.spec.design import SIMULATED, Design
from tidegate.spec.errors import TidegateError
from tidegate.spec.layout import Layout
from tidegate.spec.model import Model
from tidegate.spec.network import Network

from .coresim import CoreRun, mismatches, simulate
from .trace import padded_clips

DENSE_FRAMES = 20
CLOCK = 100e6


def predicted_cycles(model: Model, design: Design, clips: Sequence[np.ndarray], dense: bool = False,
                     apart: bool = False) -> np.ndarray:
    """Cycles of every frame by the cycle model, clips joined; see ``coresim.simulate``."""
    from tidegate.golden import Golden

    golden, frames = Golden(model), padded_clips(clips)
    if model.network.rules:         # of which not every memory tells what was sent
        state, steps = golden.initial_state(frames.shape[1]), []
        for frame in frames:
            step, state = golden.step(frame, state, dense)
            steps.append(step.fired)
        fired = [np.stack(signal) for signal in zip(*steps, strict=True)]
    else:
        trace = golden.run(frames, dense=dense, keep_anchors=True)
        assert trace.anchors is not None
        fired = [(np.diff(anchors, axis=0, prepend=0) != 0) | dense for anchors in trace.anchors]
    layout = Layout(model.network, design)
    return np.concatenate([frame_cycles(layout, [f[: len(clip), b] for f in fired], apart)
                           for b, clip in enumerate(clips)])


def measure(name: str, model: Model, lanes: int, clips: Sequence[np.ndarray], target: float | None = None) -> dict:
    """Stream clips, frames back to back, and dense mode on up to DENSE_FRAMES frames of the longest; a row of figures.

    ``target``: the occupancy that was wanted, for the row.  In dense mode every frame inside a clip costs the same,
    whatever is in it (checked here); ``cycles_dense`` is the mean over all frames of all clips.  TidegateError for
    clips of less than DENSE_FRAMES / 2 frames.
    """
    design, net = SIMULATED[lanes], model.network
    layout, lengths = Layout(net, design), list(map(len, clips))
    longest = max(clips, key=len)[:DENSE_FRAMES]
    delta = simulate(design, model, clips)
    dense = simulate(design, model, longest, dense=True)
    wrong = [mismatches(delta, design, model, clips), mismatches(dense, design, model, longest, dense=True)]
    predicted = predicted_cycles(model, design, clips), predicted_cycles(model, design, [longest], dense=True)
    cost, full = _cost(delta), _dense_cost(dense, lengths, net)
    ratios = comparison(cost, full, net)
    frames, cycles = cost.frames, cost.cycles / cost.frames
    return {
        "network": name, "gru": [layer.size for layer in net.layers], "lanes": lanes,
        "occupancy": cost.overall_occupancy(net), "cycles_dense": full.cycles / frames, "cycles_delta": cycles,
        "speedup": ratios["speedup"], "ideal_speedup": ratios["fetch_reduction"],
        "sparsity_efficiency": ratios["sparsity_efficiency"],
        "lane_utilisation_dense": full.weight_words / full.cycles,
        "effective_gops_at_100mhz": 2 * net.dense_weights * CLOCK / cycles / 1e9,
        "target_occupancy": target, "occupancy_of_signals": list(cost.occupancy(net)),
        "thresholds": list(net.thresholds), "frames": frames, "clips": len(clips), "dense_frames": len(longest),
        "words_delta": cost.weight_words / frames, "words_dense": full.weight_words / frames,
        "latency_of_first_frame": int(delta.cycles[0]),
        "model_cycles": float(predicted[0].mean()),
        "steady_cycles": steady_cycles(layout, [n / frames for n in cost.events]),
        "model_mismatches": int((predicted[0] != delta.cycles).sum() + (predicted[1] != dense.cycles).sum()),
        "mismatches": sum(count for count, _ in wrong),
        "first_mismatch": next((str(first) for _, first in wrong if first), None),
    }


def _cost(run: CoreRun) -> Cost:
    return Cost(sum(run.clips), run.total, int(run.weight_words.sum()), tuple(map(int, run.events.sum(0))))


def _dense_cost(run: CoreRun, lengths: list[int], net: Network) -> Cost:
    """Cost of clips of these lengths in dense mode, from one clip of which all frames but the first and the last few
    cost the same: those cost more and less, as the frame before or after is missing that others overlap with."""
    words, measured = run.weight_words, len(run.cycles)
    middle = run.cycles[measured // 4 : measured - measured // 4]
    if (middle != middle[0]).any() or (words != words[0]).any() or min(lengths) < measured // 2:
        raise TidegateError("in dense mode this core's frames differ in cost; its dense cycles cannot be extrapolated")
    total = sum(run.total + (n - measured) * int(middle[0]) for n in lengths)
    frames = sum(lengths)
    events = tuple(net.elements(s) * frames for s in range(net.signals))
    return Cost(frames, total, int(words[0]) * frames, events)
