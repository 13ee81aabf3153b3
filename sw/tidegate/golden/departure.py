"""Where a model first departs from the float network that it was made of.

In order of computation: the first frame, in it the features and each layer in turn, in it the values that the cell
shows.  Of several sequences and elements at that place, the one that is furthest beyond its bound.

The bound of a value is ``SLACK`` times the largest error that rounding alone makes there, in the same frames: the float
network with every number on the engine's grid, its weights on the finest grid that holds nearly all of them, nothing
saturated, and Θ = 0.  An element has its own bound, but none below that of nine in ten, so that an element that
happened to be rounded well needs no more than others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..spec.formats import SIGNAL, WEIGHT_BITS, weight_max
from .arithmetic import ROUNDINGS, Arithmetic
from .chain import FloatChain
from .rounding import usual_frac
from .stepwise import SENT, Seen, Site, Switches, on_grid, stepwise

SLACK = 4.0             # a scale that is a bit too coarse passes, one of two bits does not
_MOST = 0.9             # quantile of the elements
_LEAST = 2.0**-SIGNAL.frac
_GRID = Arithmetic(frozenset(ROUNDINGS))
_GATES = ("r", "z", "o", "i", "f", "g")
_KINDS = {"nx": "sum of the input", "nh": "sum of the own state", "n": "candidate", "h": "state", "c": "state",
          "v": "signal"}


@dataclass(frozen=True)
class Departure:
    """``sequence``, ``frame``, ``site``, ``element``: where; ``got`` of the model, ``wanted`` of the float network,
    ``bound`` of their difference; ``others``: how many elements more are beyond their bounds there."""

    sequence: int
    frame: int
    site: Site
    element: int
    got: float
    wanted: float
    bound: float
    others: int

    @property
    def error(self) -> float:
        return abs(self.got - self.wanted)


def title_of(site: Site, layers: int) -> str:
    """What a site is, for people."""
    if site.layer < 0:
        return "features" + (f", {SENT}" if site.name == SENT else "")
    if site.layer == layers:
        return "logits"
    what = SENT if site.name == SENT else f"{'gate' if site.name in _GATES else _KINDS[site.name]} {site.name}"
    return f"layer {site.layer}, {what}"


def rounding_bounds(chain: FloatChain, frames: Tensor, wanted: Seen, valid: Tensor,
                    weight_bits: Sequence[int] | None = None) -> dict[Site, Tensor]:
    """The bound (elements,) of every site, from frames (T, N, features), normalised, of which ``valid`` (T, N) count.

    ``weight_bits``: of layers and classifier, default 8.
    """
    parts = [[w for w in (layer.w_ih, layer.w_hh) if w is not None] for layer in chain.layers] + [[chain.weight]]
    bits = weight_bits or [WEIGHT_BITS] * len(parts)
    fracs = [usual_frac(torch.cat([w.flatten() for w in part]), weight_max(b))
             for part, b in zip(parts, bits, strict=True)]
    rounded = stepwise(on_grid(chain, fracs), frames, Switches.all(chain, _GRID))
    bounds = {}
    for site, value in rounded.items():
        most = (value - wanted[site]).abs()[valid].amax(0)
        bounds[site] = SLACK * most.clamp(min=float(most.quantile(_MOST))).clamp(min=_LEAST / SLACK)
    return bounds


def first_departure(got: Seen, wanted: Seen, valid: Tensor, bounds: Mapping[Site, Tensor | float]) -> Departure | None:
    """The first place in order of computation at which the difference is beyond its bound; None if there is none."""
    first: tuple[int, Site] | None = None
    for site in got:            # in the order of computation
        beyond = ((got[site] - wanted[site]).abs() > bounds[site]).any(-1) & valid
        frames = beyond.any(1).nonzero()
        if len(frames) and (first is None or int(frames[0]) < first[0]):
            first = int(frames[0]), site
    if first is None:
        return None
    frame, site = first
    error = (got[site][frame] - wanted[site][frame]).abs() * valid[frame][:, None]
    share = error / torch.as_tensor(bounds[site])
    sequence, element = divmod(int(share.argmax()), share.shape[1])
    bound = torch.as_tensor(bounds[site])
    return Departure(sequence, frame, site, element, float(got[site][frame, sequence, element]),
                     float(wanted[site][frame, sequence, element]),
                     float(bound[element] if bound.ndim else bound), int((share > 1).sum()) - 1)
