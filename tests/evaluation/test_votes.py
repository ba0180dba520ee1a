import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from job.evaluation import votes


def equally_weighted(stack):
    return votes.weighted(stack, np.full(len(stack), 0.3))


RULES = (votes.majority, votes.mean, votes.median, votes.rank_mean, equally_weighted)


@st.composite
def stacks(draw):
    """Probabilities (voters, images, classes), often with equal values so that ties occur."""
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(2, 4)))
    weights = draw(hnp.arrays(np.float64, shape, elements=st.sampled_from([0.1, 0.2, 0.3, 0.7, 1.0, 1.7])))
    return weights / weights.sum(axis=2, keepdims=True)


def binary(*positive: float) -> np.ndarray:
    """One image judged by as many voters as there are probabilities of the second class."""
    p = np.array(positive)
    return np.stack([1 - p, p], axis=1)[:, None, :]


def test_most_votes_win_even_against_the_mean_probability():
    stack = binary(0.51, 0.51, 0.51, 0.01, 0.01)
    verdict = votes.majority(stack)
    assert verdict.predicted.tolist() == [1]
    assert verdict.votes.tolist() == [[2, 3]]
    assert verdict.probabilities.tolist() == [[0.4, 0.6]]
    assert not verdict.tie[0]
    assert votes.mean(stack).predicted.tolist() == [0]


def test_a_tie_of_an_even_number_of_voters_goes_to_the_higher_mean_and_is_flagged():
    for stack, winner in ((binary(0.9, 0.4), 1), (binary(0.6, 0.1), 0)):
        verdict = votes.majority(stack)
        assert verdict.tie.tolist() == [True]
        assert verdict.predicted.tolist() == [winner]
        assert verdict.probabilities.tolist() == [[0.5, 0.5]]


def test_a_tie_is_broken_among_the_tied_classes_only():
    # Classes 0 and 1 have two votes each; class 2 has one vote but the highest mean probability.
    stack = np.array([[0.4, 0.2, 0.4], [0.4, 0.2, 0.4], [0.1, 0.46, 0.44], [0.1, 0.46, 0.44], [0.0, 0.0, 1.0]])[:, None]
    verdict = votes.majority(stack)
    assert verdict.votes.tolist() == [[2, 2, 1]]
    assert verdict.tie.tolist() == [True]
    assert verdict.predicted.tolist() == [1]
    assert votes.mean(stack).predicted.tolist() == [2]


def test_five_voters_and_two_classes_never_tie():
    stack = np.stack([binary(*calls)[:, 0] for calls in itertools.product((0.2, 0.8), repeat=5)], axis=1)
    assert not votes.majority(stack).tie.any()


@settings(deadline=None, max_examples=40)
@given(stack=stacks(), data=st.data())
def test_the_verdict_does_not_depend_on_the_order_of_the_voters(stack, data):
    order = data.draw(st.permutations(range(len(stack))))
    for rule in RULES:
        before, after = rule(stack), rule(stack[order])
        for field in ("probabilities", "votes", "predicted", "tie"):
            np.testing.assert_array_equal(getattr(before, field), getattr(after, field))


@settings(deadline=None, max_examples=40)
@given(stack=stacks())
def test_scores_of_every_rule_sum_to_one_and_ties_go_to_the_higher_mean(stack):
    average = votes.mean(stack).probabilities
    for rule in RULES:
        verdict = rule(stack)
        np.testing.assert_allclose(verdict.probabilities.sum(axis=1), 1)
        assert ((verdict.probabilities >= 0) & (verdict.probabilities <= 1)).all()
        np.testing.assert_array_equal(verdict.votes, votes.count_votes(stack))
        if rule in {votes.majority, votes.median}:
            for i in np.flatnonzero(verdict.tie):
                tied = verdict.probabilities[i] == verdict.probabilities[i].max()
                assert average[i, verdict.predicted[i]] == average[i, tied].max()


def test_the_median_ignores_one_voter_who_is_far_off():
    stack = binary(0.6, 0.7, 0.0)
    assert votes.median(stack).probabilities[0].tolist() == pytest.approx([0.4, 0.6])
    assert votes.median(stack).predicted.tolist() == [1]
    assert votes.mean(stack).predicted.tolist() == [0]


def test_voters_each_certain_of_another_class_leave_the_mean():
    verdict = votes.median(np.eye(3)[:, None, :])
    assert verdict.probabilities[0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3])


def test_weights_of_zero_silence_a_voter_and_of_all_count_equally():
    stack = binary(0.9, 0.2, 0.2)
    assert votes.weighted(stack, np.array([1.0, 0.0, 0.0])).probabilities[0, 1] == pytest.approx(0.9)
    assert votes.weighted(stack, np.array([2.0, 1.0, 1.0])).probabilities[0, 1] == pytest.approx(0.55)
    np.testing.assert_allclose(votes.weighted(stack, np.zeros(3)).probabilities, votes.mean(stack).probabilities)


def test_skill_is_recall_beyond_chance():
    truth = np.array([0, 0, 1, 1, 1, 1])
    half = np.eye(2)[[0, 1, 1, 1, 1, 1]]
    assert votes.skill(half, truth) == pytest.approx((0.75 - 0.5) / 0.5)
    assert votes.skill(np.eye(2)[np.ones(6, int)], truth) == 0
    assert votes.skill(np.eye(2)[1 - truth], truth) == 0
    assert votes.skill(np.eye(3)[[0, 1, 2]], np.array([0, 1, 2])) == pytest.approx(1)


def test_mean_ranks_follow_the_order_whatever_the_scale():
    """A voter whose probabilities are squeezed ranks as much as one whose are spread."""
    order = np.array([0.1, 0.3, 0.6, 0.9])
    spread = np.stack([1 - order, order], axis=1)
    squeezed = np.stack([1 - order**4, order**4], axis=1)
    alone, both = votes.rank_mean(spread[None]), votes.rank_mean(np.stack([spread, squeezed]))
    np.testing.assert_allclose(alone.probabilities[:, 1], [1 / 8, 3 / 8, 5 / 8, 7 / 8])
    np.testing.assert_allclose(both.probabilities, alone.probabilities)


def test_a_single_voter_calls_by_rank_what_it_calls_by_probability():
    draw = np.random.default_rng(3)
    p = draw.beta(4, 2, 50)
    verdict = votes.rank_mean(np.stack([1 - p, p], axis=1)[None])
    np.testing.assert_array_equal(verdict.predicted, p > 0.5)


@settings(deadline=None, max_examples=40)
@given(stack=stacks())
def test_every_voter_counts_once_and_the_winner_has_most_votes(stack):
    verdict = votes.majority(stack)
    assert (verdict.votes.sum(axis=1) == len(stack)).all()
    chosen = verdict.votes[np.arange(len(verdict.votes)), verdict.predicted]
    assert (chosen == verdict.votes.max(axis=1)).all()
    np.testing.assert_allclose(verdict.probabilities.sum(axis=1), 1)


@settings(deadline=None, max_examples=40)
@given(stack=stacks())
def test_voters_who_agree_are_followed_by_both_rules(stack):
    same = np.repeat(stack[:1], 3, axis=0)
    for rule in RULES:
        np.testing.assert_array_equal(rule(same).predicted, same[0].argmax(axis=1))


@pytest.mark.parametrize("rule", RULES)
def test_no_images_give_no_verdicts(rule):
    assert rule(np.empty((5, 0, 2))).predicted.shape == (0,)
