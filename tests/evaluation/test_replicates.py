"""Metrics under weights of the subjects, against scikit-learn's `sample_weight`."""

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from job.contracts.dataset import Dataset
from job.evaluation import replicates
from job.evaluation.metrics import METRICS, score
from job.evaluation.replicates import Scored, Subjects

TWO = Dataset("two", synthetic=True, classes=("HEM", "ALL"), positive="ALL")
THREE = Dataset("three", synthetic=True, classes=("a", "b", "c"), positive=None)


def cells(dataset, seed, *, mixed=False, images=120, subjects=9, digits=2):
    """Rounded probabilities, so that many are equal."""
    draw = np.random.default_rng(seed)
    count = len(dataset.classes)
    code = np.append(np.arange(subjects), draw.integers(0, subjects, images - subjects))
    truth = draw.integers(0, count, images) if mixed else code % count
    p = (draw.dirichlet(np.ones(count), images) + 0.6 * np.eye(count)[truth]).round(digits)
    p = p / p.sum(axis=1, keepdims=True)
    return Scored(truth, p.argmax(axis=1), p), Subjects.of([f"s{c}" for c in code], truth, count)


def by_scikit_learn(model, weights, dataset):
    truth, predicted, p = model.truth, model.predicted, model.probabilities
    labels = range(len(dataset.classes))
    own = {"sample_weight": weights}

    def averaged(metric, *, inverted=False):
        return np.mean(
            [metric((truth == c) != inverted, (predicted == c) != inverted, **own) for c in dataset.reported]
        )

    def ranking(metric):
        return np.mean([metric(truth == c, p[:, c], **own) for c in dataset.reported])

    return {
        "accuracy": sk.accuracy_score(truth, predicted, **own),
        "sensitivity": averaged(sk.recall_score),
        "specificity": averaged(sk.recall_score, inverted=True),
        "ppv": averaged(sk.precision_score),
        "npv": averaged(sk.precision_score, inverted=True),
        "f1": averaged(sk.f1_score),
        "weighted_f1": sk.f1_score(truth, predicted, average="weighted", **own),
        "macro_f1": sk.f1_score(truth, predicted, average="macro", **own),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted, **own),
        "mcc": sk.matthews_corrcoef(truth, predicted, **own),
        "cohen_kappa": sk.cohen_kappa_score(truth, predicted, **own),
        "auroc": ranking(sk.roc_auc_score),
        "auprc": ranking(sk.average_precision_score),
        "brier": sk.brier_score_loss(truth, p, labels=labels, **own),
        "log_loss": sk.log_loss(truth, p, labels=labels, **own),
    }


@pytest.mark.parametrize("few", [0, 128], ids=["running sums", "counts"])
@pytest.mark.parametrize("mixed", [False, True], ids=["one class each", "mixed subjects"])
@pytest.mark.parametrize("dataset", [TWO, THREE], ids=["two", "three"])
def test_every_metric_under_weights_is_scikit_learns(dataset, mixed, few, monkeypatch):
    monkeypatch.setattr(replicates, "_FEW", few)
    model, subjects = cells(dataset, 4, mixed=mixed)
    weights = np.random.default_rng(1).integers(1, 4, (130, 9)).astype(float)
    found = replicates.figures(weights, model, subjects, dataset)
    for b in (0, 1, 99, 100, 129):
        expected = by_scikit_learn(model, weights[b][subjects.code], dataset)
        for name, value in expected.items():
            assert found[b, METRICS.index(name)] == pytest.approx(value, rel=1e-6), name
        repeated = np.repeat(np.arange(len(model.truth)), weights[b][subjects.code].astype(int))
        whole = score(*(part[repeated] for part in (model.truth, model.predicted, model.probabilities)), dataset)
        assert found[b, METRICS.index("ece")] == pytest.approx(whole.metrics["ece"])


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), digits=st.integers(0, 3), few=st.sampled_from([0, 128]))
def test_weights_of_one_give_the_figures_and_the_same_gaps(seed, digits, few):
    model, subjects = cells(TWO, seed, mixed=True, images=14, subjects=4, digits=digits)
    before, replicates._FEW = replicates._FEW, few
    try:
        (found,) = replicates.figures(np.ones((1, 4)), model, subjects, TWO)
    finally:
        replicates._FEW = before
    expected = score(model.truth, model.predicted, model.probabilities, TWO).metrics
    for name, value in zip(METRICS, found, strict=True):
        if expected[name] is None:
            assert np.isnan(value), name
        else:
            assert value == pytest.approx(expected[name], rel=1e-6, abs=1e-9), name


def test_resamples_keep_each_class_number_of_subjects():
    _, subjects = cells(TWO, 0, subjects=11, images=60)
    weights = replicates.draw(subjects, 500, np.random.default_rng(0))
    for stratum, people in enumerate(subjects.per_class(2)):
        assert (weights[:, subjects.stratum == stratum].sum(axis=1) == people).all()
    # Every subject is drawn once on average, and left out of (1 - 1/n)^n of the resamples.
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.15)
    six = subjects.stratum == np.argmax(subjects.per_class(2))
    assert (weights[:, six] == 0).mean() == pytest.approx((5 / 6) ** 6, abs=0.03)


def test_a_subject_left_out_is_left_out_with_all_its_images():
    model, subjects = cells(TWO, 2)
    found = replicates.figures(replicates.leave_one_out(subjects), model, subjects, TWO)
    for s in range(len(subjects.names)):
        rest = subjects.code != s
        expected = score(model.truth[rest], model.predicted[rest], model.probabilities[rest], TWO)
        assert found[s, METRICS.index("auroc")] == pytest.approx(expected.metrics["auroc"])
        assert found[s, METRICS.index("mcc")] == pytest.approx(expected.metrics["mcc"])


def test_ranks_have_no_figures_of_probabilities():
    model, subjects = cells(TWO, 2)
    ranked = Scored(model.truth, model.predicted, model.probabilities, is_probability=False)
    (found,) = replicates.figures(np.ones((1, 9)), ranked, subjects, TWO)
    assert {n for n, v in zip(METRICS, found, strict=True) if np.isnan(v)} == {"brier", "log_loss", "ece"}
