"""The distance of a picture's features is the textbook one, and its bound that of validation images."""

from types import SimpleNamespace

import numpy as np
import torch
from sklearn.decomposition import PCA

from job.inference.predict import Distance
from job.training import record


def test_the_distance_is_that_of_mahalanobis_and_few_validation_images_are_beyond_the_bound(monkeypatch):
    draw = np.random.default_rng(0)
    values = draw.normal(size=(1600, 8)) @ draw.normal(size=(8, 100)) + 0.1 * draw.normal(size=(1600, 100))
    training, validation = np.arange(800), np.arange(800, 1600)
    fold = SimpleNamespace(train=SimpleNamespace(rows=training), validation=SimpleNamespace(rows=validation))
    task = SimpleNamespace(fold=fold, params=SimpleNamespace(train=SimpleNamespace(threads=1)))
    monkeypatch.setattr(record, "features_of", lambda _network, _context, rows: values[rows])
    tensors = record.likeness(None, None, task)
    distance = Distance(tensors)(torch.from_numpy(values)).numpy()
    model = PCA(record.AXES, svd_solver="full").fit(values[training])
    centred = values - model.mean_
    exact = np.sqrt(np.einsum("nd,de,ne->n", centred, model.get_precision(), centred))
    np.testing.assert_allclose(distance * float(tensors["usual"]), exact, rtol=0.05)
    assert (distance[validation] > 1).sum() == round((1 - record.USUAL) * len(validation))
    assert Distance(tensors)(torch.from_numpy(values[:50] + 3 * draw.normal(size=(50, 100)))).min() > 1
