import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from job import temperature


def test_temperature_is_the_one_a_logistic_regression_finds():
    """With two classes temperature scaling is a logistic regression without intercept on the difference of logits."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 2000)
    margin = (2 * truth - 1 + rng.normal(0, 1.5, 2000)) * 3
    logits = np.stack([np.zeros(2000), margin], 1)
    reference = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(margin[:, None], truth)
    assert 1 / temperature.fit_temperature(logits, truth) == pytest.approx(reference.coef_[0, 0], rel=1e-3)


def test_temperature_of_a_faultless_network_is_finite():
    logits = np.array([[9.0, 0], [0, 9.0]])
    assert temperature.fit_temperature(logits, np.array([0, 1])) >= 0.05


def test_probabilities_at_temperature_one_stay_as_they_are():
    probabilities = np.array([[0.2, 0.8], [1.0, 0.0]])
    assert np.allclose(temperature.tempered(temperature.logits(probabilities), 1.0), probabilities, atol=1e-11)
    colder = temperature.tempered(temperature.logits(probabilities), 0.5)
    assert colder[0] == pytest.approx(np.array([0.04, 0.64]) / 0.68)
