import numpy as np
import pandas as pd
import pytest

from job.errors import UserError
from job.evaluation import collect


def test_area_is_the_box_in_square_pixels_on_a_logarithmic_scale():
    index = pd.DataFrame({"box_w": [10, 200, 0], "box_h": [10, 100, 0]})
    assert np.exp(collect.log_area(index)).tolist() == pytest.approx([100, 20_000, 1])


def test_larger_cells_are_the_class_whose_training_cells_are_larger():
    train = np.log([100.0, 120, 140, 300, 320, 340])
    label = np.array([0, 0, 0, 1, 1, 1])
    probabilities = collect.area_model(train, label, np.log([90.0, 200, 400]))
    assert (np.diff(probabilities[:, 1]) > 0).all()
    assert probabilities.argmax(axis=1)[[0, 2]].tolist() == [0, 1]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_the_scarcer_class_counts_as_much_as_the_other():
    draw = np.random.default_rng(0)
    train = np.concatenate([draw.normal(0, 1, 900), draw.normal(1, 1, 100)])
    label = np.repeat([0, 1], [900, 100])
    # With equal weights the boundary lies midway between the means; unweighted, 0.5 would be well inside class 0.
    assert collect.area_model(train, label, np.array([0.5]))[0, 1] == pytest.approx(0.5, abs=0.08)


def test_the_unit_of_the_area_does_not_matter():
    draw = np.random.default_rng(1)
    train, label, test = draw.normal(0, 1, 40), np.tile([0, 1], 20), draw.normal(0, 1, 5)
    scaled = collect.area_model(100 * train + 3, label, 100 * test + 3)
    np.testing.assert_allclose(collect.area_model(train, label, test), scaled, rtol=1e-6)


def test_one_training_class_is_named_as_what_is_wrong():
    with pytest.raises(UserError, match=r"one class only.*split\.test"):
        collect.area_model(np.zeros(3), np.ones(3, dtype=int), np.zeros(1))
