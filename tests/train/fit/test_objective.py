"""The prices of speaking: units, masks, and a budget that is kept."""

import pytest
import torch

from tidegate.golden.network import Output
from tidegate.train.fit.objective import Budget, until


def test_movement_is_a_mean_whatever_the_size():
    ramp = torch.arange(5.0)[:, None, None] * 64            # a quarter of h's range a frame
    for batch, units in ((1, 1), (7, 3)):
        output = Output(torch.zeros(5, batch, 2), [torch.zeros(5, batch, 3), ramp.expand(5, batch, units)], [0, 0])
        assert [movement.item() for movement in output.movements] == [0.25]


def test_until_counts_the_frames_of_each_clip():
    assert until(torch.tensor([0, 2, 9]), 4).sum(0).tolist() == [1, 3, 4]


def test_cost_is_in_words_a_frame_without_padding():
    budget = Budget([10, 100], 50.0, 1000)
    events = [torch.tensor([[3.0, 1.0], [2.0, 99.0]]), torch.tensor([[1.0, 0.0], [0.0, 99.0]])]
    cost = budget.cost(events, until(torch.tensor([1, 0]), 2), share=0.5)
    words = (6 * 10 + 1 * 100) / 3
    assert cost.item() == pytest.approx(0.5 * budget.price * words / 50) and budget.words == pytest.approx(words)


def spend(budget, appetite, steps):
    """A network that spends less the more a word costs: words = appetite / price."""
    for _ in range(steps):
        words = appetite / budget.price
        budget.cost([torch.tensor([[words]])], torch.ones(1, 1), share=1)
    return words


@pytest.mark.parametrize("appetite", [1.0, 20.0])
def test_the_price_settles_where_the_budget_is_kept(appetite):
    assert spend(Budget([1], 100.0, 1000), appetite, 1000) == pytest.approx(100, rel=0.02)


def test_noisier_batches_may_cost_more():
    budget = Budget([1], 100.0, 1000)
    for _ in range(30):
        spend(budget, 10.0, 50)
        budget.measured(budget.words / 1.25)                # the clips that count are a fifth cheaper
    assert spend(budget, 10.0, 1) == pytest.approx(125, rel=0.02)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_the_budget_is_wider_while_thresholds_are_annealed(share):
    budget = Budget([1], 100.0, 1000)
    for words, moves in ((90 / share, 0 if share < 1 else -1), (110 / share, 1)):
        before = budget.price
        budget.cost([torch.full((3, 2), words)], torch.ones(3, 2), share)
        assert (budget.price > before) - (budget.price < before) == moves


def test_state_is_whole():
    one, other = Budget([1], 100.0, 1000), Budget([1], 100.0, 1000)
    spend(one, 10.0, 20)
    one.measured(70.0)
    other.restore(one.state())
    assert other.state() == one.state() and spend(one, 10.0, 5) == spend(other, 10.0, 5)
