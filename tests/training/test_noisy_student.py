import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import LogisticRegression

from job.errors import UserError
from job.training.methods import noisy_student


def test_temperature_is_the_one_a_logistic_regression_finds():
    """With two classes temperature scaling is a logistic regression without intercept on the difference of logits."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 2000)
    margin = (2 * truth - 1 + rng.normal(0, 1.5, 2000)) * 3
    logits = np.stack([np.zeros(2000), margin], 1)
    reference = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(margin[:, None], truth)
    assert 1 / noisy_student.calibrate(logits, truth) == pytest.approx(reference.coef_[0, 0], rel=1e-3)


def test_temperature_of_a_faultless_network_is_finite():
    logits = np.array([[9.0, 0], [0, 9.0]])
    assert noisy_student.calibrate(logits, np.array([0, 1])) >= 0.05


PROBABILITIES = arrays(np.float64, st.tuples(st.integers(1, 40), st.integers(2, 4)), elements=st.floats(0.01, 1)).map(
    lambda raw: raw / raw.sum(1, keepdims=True)
)


@given(PROBABILITIES, st.floats(0, 0.9), st.booleans())
def test_only_confident_answers_are_kept_and_balance_keeps_their_number(probabilities, confidence, balance):
    confident = np.flatnonzero(probabilities.max(1) >= confidence)
    if len(confident) == 0:
        with pytest.raises(UserError, match="confidence"):
            noisy_student.select(probabilities, confidence=confidence, balance=balance)
        return
    kept = noisy_student.select(probabilities, confidence=confidence, balance=balance)
    assert set(kept) <= set(confident)
    assert len(kept) == len(confident)
    answers = probabilities.argmax(1)
    if balance:
        counts = np.bincount(answers[kept])
        assert np.ptp(counts[counts > 0]) <= 1
        assert set(answers[kept]) == set(answers[confident])
    else:
        assert kept.tolist() == confident.tolist()


def test_balance_takes_the_most_confident_of_a_common_class_and_repeats_a_scarce_one():
    first = np.array([0.9, 0.99, 0.8, 0.97, 0.3, 0.95])
    kept = noisy_student.select(np.stack([first, 1 - first], 1), confidence=0.0, balance=True)
    assert kept.tolist() == [1, 3, 4, 4, 4, 5]


def test_targets():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    assert noisy_student.targets(logits, labels="hard", temperature=1).tolist() == [0, 1]
    soft = noisy_student.targets(logits, labels="soft", temperature=0.5)
    assert torch.allclose(soft, (2 * logits).softmax(1))
