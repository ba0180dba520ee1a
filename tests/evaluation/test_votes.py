import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from job.evaluation import votes


def calibrated(stack):
    return votes.calibrated(stack, np.full(len(stack), 1.7))


RULES = (votes.majority, votes.mean, calibrated)


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
    assert verdict.probabilities[0, 1] == pytest.approx(0.31)
    assert not verdict.tie[0]
    assert votes.mean(stack).predicted.tolist() == [0]


def test_a_tie_of_an_even_number_of_voters_goes_to_the_higher_mean_and_is_flagged():
    for stack, winner in ((binary(0.9, 0.4), 1), (binary(0.6, 0.1), 0)):
        verdict = votes.majority(stack)
        assert verdict.tie.tolist() == [True]
        assert verdict.predicted.tolist() == [winner]
        np.testing.assert_array_equal(verdict.probabilities, votes.mean(stack).probabilities)


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
        if rule is votes.majority:
            for i in np.flatnonzero(verdict.tie):
                tied = verdict.votes[i] == verdict.votes[i].max()
                assert average[i, verdict.predicted[i]] == average[i, tied].max()


def test_the_calibrated_vote_is_as_sure_as_voters_who_agree():
    same = binary(0.9, 0.9, 0.9)
    assert votes.calibrated(same, np.ones(3)).probabilities[0, 1] == pytest.approx(0.9)
    # Logits 0 and 2 have the mean 1; a mean of probabilities would be less sure.
    p = 1 / (1 + np.exp(-np.array([0.0, 2.0])))
    assert votes.calibrated(binary(*p), np.ones(2)).probabilities[0, 1] == pytest.approx(1 / (1 + np.exp(-1)))
    assert votes.calibrated(binary(*p), np.full(2, 0.5)).probabilities[0, 1] == pytest.approx(1 / (1 + np.exp(-2)))
    # Voters of other methods have temperatures of their own.
    each = votes.calibrated(binary(*p), np.array([3.0, 0.5]))
    assert each.probabilities[0, 1] == pytest.approx(1 / (1 + np.exp(-2)))


def test_a_voter_who_is_certain_does_not_decide_without_end():
    assert 0 < votes.calibrated(binary(1.0, 0.2, 0.2), np.ones(3)).probabilities[0, 1] < 1


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
