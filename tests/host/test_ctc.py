"""Strings from logits: both decoders against all alignments, one by one; when a token is final; edit distance."""

from dataclasses import replace
from itertools import groupby, product

import numpy as np
import pytest

from tidegate.host.ctc import Greedy, PrefixBeam, decode, decoder_of, token_errors
from tidegate.spec.errors import TidegateError
from tidegate.spec.formats import acc_frac
from tidegate.spec.tokens import Tokens
from tidegate_sim.random_networks import random_model


def string_of(path, blank):
    """Repeated labels become one, then blanks go."""
    return tuple(label for label, _ in groupby(path) if label != blank)


def all_strings(logits, blank):
    """Every string → its probability, summed over all alignments."""
    odds = np.exp(logits - logits.max(1, keepdims=True))
    odds /= odds.sum(1, keepdims=True)
    found: dict[tuple, float] = {}
    for path in product(range(logits.shape[1]), repeat=len(logits)):
        string = string_of(path, blank)
        found[string] = found.get(string, 0.0) + float(np.prod(odds[np.arange(len(path)), path]))
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("frames, labels", [(1, 3), (4, 2), (5, 4), (7, 3)])
def test_a_beam_that_leaves_nothing_out_finds_the_most_probable_string(seed, frames, labels):
    rng = np.random.default_rng(seed)
    logits, blank = rng.normal(scale=2, size=(frames, labels)), int(rng.integers(labels))
    every = all_strings(logits, blank)
    assert sum(every.values()) == pytest.approx(1)
    beam, told = PrefixBeam(blank, 100_000), []
    for frame in logits:
        told += beam.accept(frame[None])
    rest, log_probability = beam.best
    string = (*(token.label for token in told), *rest)
    assert every[string] == pytest.approx(max(every.values()))
    assert np.exp(log_probability) == pytest.approx(every[string])
    assert [*told, *beam.end()] == decode(PrefixBeam(blank, 100_000), logits)


@pytest.mark.parametrize("seed", range(4))
def test_a_token_is_told_when_no_hypothesis_is_without_it(seed):
    """A clear token is told before the string ends, and what was told is never taken back by later frames."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=4, size=(40, 4))
    whole = [token.label for token in decode(PrefixBeam(3, 4), logits)]
    for end in range(1, 40):
        told = [token.label for token in PrefixBeam(3, 4).accept(logits[:end])]
        assert told == whole[: len(told)]
    sure = np.full((6, 3), -50.0)
    sure[np.arange(6), [2, 0, 2, 2, 1, 1]] = 0.0
    told = PrefixBeam(2, 1).accept(sure)
    assert [token.label for token in told] == [0, 1] and [token.frame for token in told] == [1, 4]
    many = PrefixBeam(2, 8).accept(sure)
    assert [token.label for token in many] == [0, 1][: len(many)]


def test_the_sum_over_alignments_beats_the_best_single_one():
    """The classic case: blank leads in each frame, but the token is likelier over all alignments."""
    logits = np.log([[0.4, 0.6], [0.4, 0.6]])
    assert decode(Greedy(1), logits) == []
    assert [token.label for token in decode(PrefixBeam(1, 8), logits)] == [0]


def test_greedy_tells_a_token_in_its_first_frame_and_begins_anew():
    path = [3, 0, 0, 3, 0, 1, 1, 3, 3, 2]
    logits = np.eye(4, dtype=np.int64)[path]
    greedy = Greedy(3)
    told = [token for frame in logits for token in greedy.accept([frame])]
    assert [token.label for token in told] == list(string_of(path, 3)) == [0, 0, 1, 2]
    assert [token.frame for token in told] == [1, 4, 5, 9]
    assert greedy.end() == []
    assert [(token.label, token.frame) for token in greedy.accept(np.eye(4)[[2]])] == [(2, 0)]      # after the end


def test_pieces_of_any_length_give_the_same(seed=3):
    logits = np.random.default_rng(seed).integers(-4000, 4000, (60, 5))
    for make in (lambda: Greedy(4), lambda: PrefixBeam(4, 4, 2**-10)):
        whole, pieces = decode(make(), logits), make()
        told = [token for part in np.array_split(logits, [1, 1, 8, 30]) if len(part) for token in pieces.accept(part)]
        assert [*told, *pieces.end()] == whole
        assert [*pieces.accept(logits), *pieces.end()] == whole


def test_a_model_says_how_it_is_decoded():
    model = replace(random_model(4, [6], 3, seed=1, extreme=False), tokens=Tokens(2), labels=("a", "b", "blank"))
    assert isinstance(decoder_of(model), Greedy) and isinstance(decoder_of(model, 4), PrefixBeam)
    beam = decoder_of(model.with_beam(8))
    assert isinstance(beam, PrefixBeam) and beam.width == 8
    assert beam.scale == 2.0 ** -acc_frac(model.network.classifier.weight_frac)
    with pytest.raises(TidegateError, match="tells no strings"):
        decoder_of(replace(model, tokens=None))


@pytest.mark.parametrize("right, told, errors", [
    ("", "", (0, 0, 0)), ("123", "123", (0, 0, 0)), ("123", "", (0, 3, 0)), ("", "12", (0, 0, 2)),
    ("123", "143", (1, 0, 0)), ("123", "13", (0, 1, 0)), ("123", "1223", (0, 0, 1)), ("12345", "2346", (1, 1, 0)),
])
def test_errors_are_those_of_the_cheapest_edit(right, told, errors):
    assert token_errors(map(int, right), map(int, told)) == errors


def test_errors_are_an_edit_distance():
    def distance(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0]))

    rng = np.random.default_rng(1)
    for _ in range(60):
        a, b = (tuple(rng.integers(3, size=rng.integers(6)).tolist()) for _ in range(2))
        substituted, deleted, inserted = token_errors(a, b)
        assert substituted + deleted + inserted == distance(a, b) and len(a) - deleted + inserted == len(b)
