"""Tables of a ``StreamScore``: lines of its curve, false accepts by kind of sound, and what was fetched."""

from dataclasses import asdict

import numpy as np

from tidegate.golden.figures import Figures
from tidegate.host.detector import DetectorSettings
from tidegate.host.figures import fetch_reduction, occupancy, temporal_sparsity, weights_read
from tidegate.spec.network import Network

from .evaluate import LANES, column_words
from .intervals import poisson_interval
from .streaming import PAUSE, TALK, StreamScore

DAY = {"speech": 0.2, "noise": 0.4, PAUSE: 0.4}     # shares of a day-like mix


def row(settings: DetectorSettings, heard: StreamScore, k: int) -> dict:
    """A line of a curve: ``threshold``, ``margin`` and the figures of ``Count``."""
    figures = heard.counts[k].to_dict(heard.keywordless_hours)
    return {"threshold": settings.threshold, "margin": settings.margin} | figures


def kinds_table(heard: StreamScore, k: int) -> dict[str, dict]:
    """Per kind of false accept, and per source: hours in which it can happen, how many, per hour of these and its
    interval."""
    found, table = heard.counts[k], {}
    names = found.false_accepts | {
        name: found.sources[name] for name in sorted(heard.seconds) if "/" in name}
    for name, n in names.items():
        hours = heard.seconds.get(name, 0.0) / 3600
        if hours > 0:
            table[name] = {"hours": hours, "false_accepts": n, "per_hour": n / hours,
                           "interval": list(poisson_interval(n, hours))}
    return table


def cost_table(network: Network, heard: StreamScore, frames_per_second: float) -> dict:
    """What the golden model fetched: ``all``, per kind of sound, and ``day``, a mix of DAY's shares of the kinds.

    Each: ``weights_per_second``, ``weight_words_per_second`` (of a board of ``lanes`` lanes), ``fetch_reduction``
    against dense.  ``all`` has the figures of ``golden.figures.Figures`` beside, and ``quiet_frames``.
    """
    cost, each = heard.cost, {}
    words = column_words(network, LANES)
    for kind, events in cost.events.items():
        n = cost.frames[kind]
        each[kind] = _fetches(network, weights_read(network, events.tolist()) / n,
                              sum(e * c for e, c in zip(events.tolist(), words, strict=True)) / n, frames_per_second)
        each[kind]["hours"] = n / frames_per_second / 3600
    frames = sum(cost.frames.values())
    events = [int(n) for n in np.sum(list(cost.events.values()), axis=0)]
    whole = asdict(Figures(
        frames, tuple(events), occupancy(network, events, frames), weights_read(network, events),
        network.dense_weights * frames, temporal_sparsity(network, events, frames),
        fetch_reduction(network, events, frames)))
    whole |= {name: list(whole[name]) for name in ("events", "occupancy")}
    whole |= {"quiet_frames": cost.quiet / frames}
    whole |= _fetches(network, weights_read(network, events) / frames,
                      sum(e * c for e, c in zip(events, words, strict=True)) / frames, frames_per_second)
    return {"lanes": LANES, "dense_weights_per_second": network.dense_weights * frames_per_second,
            "all": whole, "kinds": each, "day": _day(network, each, frames_per_second)}


def _fetches(network: Network, weights: float, words: float, frames_per_second: float) -> dict:
    """``weights`` and ``words`` per frame."""
    return {"weights_per_second": weights * frames_per_second, "weight_words_per_second": words * frames_per_second,
            "fetch_reduction": network.dense_weights / weights if weights else None}


def _day(network: Network, each: dict[str, dict], frames_per_second: float) -> dict | None:
    """The mix; speech is that of words where there is no other, and noise that of pauses."""
    instead = {"speech": TALK, "noise": PAUSE}
    parts = {kind: each.get(kind) or each.get(instead.get(kind, kind)) for kind in DAY}
    if not all(parts.values()):
        return None

    def mean(name: str) -> float:
        return sum(share * parts[kind][name] for kind, share in DAY.items()) / frames_per_second  # pyright: ignore

    return {"shares": DAY} | _fetches(network, mean("weights_per_second"), mean("weight_words_per_second"),
                                      frames_per_second)
