"""From logits per frame to a string of tokens (CTC, Graves et al. 2006), while the frames come in.

    string = B(labels per frame)      B: what is the same in frames that follow each other is one, then no blanks

``Greedy`` takes the largest logit of each frame.  ``PrefixBeam`` adds up all alignments of a string, for the
most probable beginnings of strings.  A token is told as soon as no later frame can take it back.

    decoder = decoder_of(model)
    for logits in frames:                       # integers, as a board computes them
        for token in decoder.accept([logits]):
            print(model.labels[token.label])
    print(decoder.end())
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from ..spec.errors import TidegateError
from ..spec.formats import acc_frac
from ..spec.model import Model

_NEVER = -math.inf


@dataclass(frozen=True)
class Token:
    """``label``: its number.  ``frame``: number of the frame, from 0, with which it was final."""

    label: int
    frame: int


class Decoder(Protocol):
    """Makes a string of the logits of one recording after another."""

    def accept(self, logits: ArrayLike) -> list[Token]:
        """Logits (frames, labels) of the next frames, integers in LSBs of the accumulator → tokens that are final."""
        ...

    def end(self) -> list[Token]:
        """The tokens that are final because no frame follows; the next frame begins another string."""
        ...


def decoder_of(model: Model, beam: int | None = None) -> Decoder:
    """The decoder of a model's strings, with its own beam or another; TidegateError if it tells none."""
    if model.tokens is None:
        raise TidegateError("this model tells no strings of tokens; choose one that was trained for the task ctc")
    beam = model.tokens.beam if beam is None else beam
    if beam == 1:
        return Greedy(model.tokens.blank)
    return PrefixBeam(model.tokens.blank, beam, 2.0 ** -acc_frac(model.network.classifier.weight_frac))


def decode(decoder: Decoder, logits: ArrayLike) -> list[Token]:
    """The tokens of a whole recording from its logits (frames, labels)."""
    return [*decoder.accept(logits), *decoder.end()]


class Greedy:
    """The largest logit of each frame, the first of equals; no arithmetic, so the same on every machine."""

    def __init__(self, blank: int):
        self.blank = blank
        self._last, self._frame = blank, 0

    def accept(self, logits: ArrayLike) -> list[Token]:
        found = []
        for label in np.asarray(logits).argmax(-1).tolist():
            if label not in (self._last, self.blank):
                found.append(Token(label, self._frame))
            self._last = label
            self._frame += 1
        return found

    def end(self) -> list[Token]:
        self._last, self._frame = self.blank, 0
        return []


class PrefixBeam:
    """Prefix beam search: the ``width`` most probable beginnings, each with the sum over its alignments so far.

    ``scale``: of the logits, in natural logarithms.  A token is final when all beginnings that are kept share it.  With
    a width that leaves none out, the string at the end is the most probable one, and ``best`` its exact probability.
    """

    def __init__(self, blank: int, width: int, scale: float = 1.0):
        self.blank, self.width, self.scale = blank, width, scale
        self._begin()

    def accept(self, logits: ArrayLike) -> list[Token]:
        odds = np.asarray(logits, np.float64) * self.scale
        odds = odds - odds.max(-1, keepdims=True)
        odds = odds - np.log(np.exp(odds).sum(-1, keepdims=True))
        found = []
        for frame in odds.tolist():
            self._step(frame)
            found += self._told(_shared(list(self._beams)))
            self._frame += 1
        return found

    def end(self) -> list[Token]:
        self._frame -= 1
        found = self._told(len(self.best[0]))
        self._begin()
        return found

    @property
    def best(self) -> tuple[tuple[int, ...], float]:
        """The most probable string of the frames so far, without the tokens that were told, and the logarithm of its
        probability."""
        return max(((prefix, _added(*ends)) for prefix, ends in self._beams.items()), key=lambda item: item[1])

    def _begin(self) -> None:
        # beginning → logarithm of the probability of its alignments that end in blank, and in its last token
        self._beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, _NEVER)}
        self._before, self._frame = self.blank, 0       # the last token that was told

    def _step(self, odds: list[float]) -> None:
        grown: dict[tuple[int, ...], list[float]] = {}
        for prefix, (in_blank, in_token) in self._beams.items():
            either, last = _added(in_blank, in_token), prefix[-1] if prefix else self._before
            ends = grown.setdefault(prefix, [_NEVER, _NEVER])
            ends[0] = _added(ends[0], either + odds[self.blank])
            if last != self.blank:
                ends[1] = _added(ends[1], in_token + odds[last])
            for label, odd in enumerate(odds):
                if label != self.blank:
                    ends = grown.setdefault((*prefix, label), [_NEVER, _NEVER])
                    ends[1] = _added(ends[1], (in_blank if label == last else either) + odd)
        kept = sorted(grown.items(), key=lambda item: -_added(*item[1]))[: self.width]
        self._beams = {prefix: (ends[0], ends[1]) for prefix, ends in kept}

    def _told(self, count: int) -> list[Token]:
        """The first ``count`` tokens of all beginnings, which from now on are counted from there."""
        if not count:
            return []
        told = self.best[0][:count]
        self._before = told[-1]
        self._beams = {prefix[count:]: ends for prefix, ends in self._beams.items() if prefix[:count] == told}
        return [Token(label, self._frame) for label in told]


def token_errors(right: Iterable[int], told: Iterable[int]) -> tuple[int, int, int]:
    """(substitutions, deletions, insertions) of a cheapest way to edit the ``right`` string into the one ``told``; of
    equally cheap ones the one with most substitutions."""
    right, told = tuple(right), tuple(told)
    rows = [(n, 0, 0, n) for n in range(len(told) + 1)]         # (errors, substitutions, deletions, insertions)
    for token in right:
        above, rows = rows, [_more(rows[0], 2)]
        for k, other in enumerate(told):
            kept = above[k] if token == other else _more(above[k], 1)
            rows.append(min(kept, _more(above[k + 1], 2), _more(rows[k], 3), key=lambda way: (way[0], -way[1])))
    return rows[-1][1:]


def _more(way: tuple[int, int, int, int], kind: int) -> tuple[int, int, int, int]:
    made = [way[0] + 1, *way[1:]]
    made[kind] += 1
    return made[0], made[1], made[2], made[3]


def _added(a: float, b: float) -> float:
    """log(eᵃ + eᵇ)."""
    if a < b:
        a, b = b, a
    return a if b == _NEVER else a + math.log1p(math.exp(b - a))


def _shared(prefixes: list[tuple[int, ...]]) -> int:
    """How many tokens all beginnings have in common."""
    low, high = min(prefixes), max(prefixes)
    return next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
