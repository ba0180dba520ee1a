"""Noise on images: what may change, what may not, and that every draw follows the seed."""

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from job.inference.pixels import VIEWS, views
from job.training import augment

POLICIES = ["dihedral", "cells", "randaugment"]


def cells(count=24, side=48, seed=0):
    """Uneven stained blobs on black, no two alike, clear of the border."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    pixels = np.zeros((count, side, side, 3), dtype=np.uint8)
    for image in pixels:
        inside = (x / rng.uniform(9, 15)) ** 2 + (y / rng.uniform(9, 15)) ** 2 < 1
        image[inside] = rng.integers(60, 200, 3)
        image[inside & (x > 2) & (y > 4)] = rng.integers(60, 200, 3)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def changed(pixels, policy, seed=1, magnitude=9):
    return augment.augmented(pixels, policy, magnitude=magnitude, seed=seed)


def test_no_policy_changes_nothing():
    pixels = cells()
    assert changed(pixels, "none") is pixels


@pytest.mark.parametrize("policy", POLICIES)
def test_noise_follows_the_seed_and_differs_between_images_and_seeds(policy):
    same = cells(1).expand(16, -1, -1, -1)
    first = changed(same, policy)
    assert torch.equal(first, changed(same, policy))
    assert not torch.equal(first, changed(same, policy, seed=2))
    assert len({image.float().numpy().tobytes() for image in first}) > 4
    state = torch.get_rng_state()
    changed(same, policy)
    assert torch.equal(state, torch.get_rng_state()), "the draws of dropout must not depend on the policy"


@pytest.mark.parametrize("policy", POLICIES)
def test_every_image_stays_in_its_place(policy):
    """The change of image i comes from image i: its foreground stays nearest to its own colours."""
    pixels = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    for number in range(3):
        pixels[number, number, 8:24, 8:24] = 200
    means = changed(pixels, policy, seed=5, magnitude=3).float().mean((2, 3))
    assert means.argmax(1).tolist() == [0, 1, 2]


def test_dihedral_gives_each_of_the_eight_views_and_nothing_else():
    image = cells(1)[0]
    turned = [torch.rot90(image, quarter, (1, 2)) for quarter in range(4)]
    expected = {view.numpy().tobytes() for one in turned for view in (one, one.flip(2))}
    assert len(expected) == VIEWS
    drawn = {view.numpy().tobytes() for view in changed(image.expand(200, -1, -1, -1), "dihedral").contiguous()}
    assert drawn == expected
    averaged = [view[0].contiguous() for view in views(image[None])]
    assert {view.numpy().tobytes() for view in averaged} == expected
    assert torch.equal(averaged[0], image)


def test_cells_keep_their_area_and_their_black_surroundings():
    pixels = cells()
    out = changed(pixels, "cells")
    before, after = ((image > augment.BACKGROUND).any(1).float() for image in (pixels, out))
    # Bilinear edges add half a pixel all around; a change of scale by 5 % would show as 10 %.
    ratio = after.sum((1, 2)) / before.sum((1, 2))
    assert ratio.mean() == pytest.approx(1.05, abs=0.05)
    assert ratio.std() < 0.04
    assert out.amin() >= 0
    assert out.amax() <= 255
    assert (out[:, :, 0, 0] == 0).all()


def test_the_noise_that_jpeg_leaves_around_a_cell_is_not_coloured():
    pixels = torch.full((1, 3, 8, 8), 26.0)
    drawn = torch.full((1, 1), 0.9), torch.full((1, 3), 0.9)
    assert torch.equal(augment._recolour(pixels, *drawn), pixels)
    assert not torch.equal(augment._recolour(pixels + 10, *drawn), pixels + 10)


def test_cells_move_as_torchvision_moves_them():
    pixels = cells(1).float()
    angle = torch.tensor([[0.13]])
    moved = augment._move(pixels, torch.zeros(1, 1), angle, torch.full((1, 2), 0.5))
    expected = reference.rotate(pixels, 0.13 * 360, interpolation=InterpolationMode.BILINEAR)
    assert (moved - expected).abs().mean() < 0.5
    shifted = augment._move(pixels, torch.zeros(1, 1), torch.zeros(1, 1), torch.tensor([[1.0, 0.5]]))
    x = torch.arange(48.0)
    centre = [float((image.sum((1, 2)) * x).sum() / image.sum()) for image in (pixels, shifted)]
    assert abs(centre[0] - centre[1]) == pytest.approx(augment.SHIFT * 48, abs=0.05)


def test_stain_and_brightness_change_within_their_limits():
    pixels = torch.full((64, 3, 8, 8), 120.0)
    neutral = augment._recolour(pixels, torch.full((64, 1), 0.5), torch.full((64, 3), 0.5))
    assert torch.allclose(neutral, pixels, atol=1e-2)
    brighter = augment._recolour(pixels, torch.ones(64, 1), torch.full((64, 3), 0.5))
    assert torch.allclose(brighter, pixels * (1 + augment.COLOUR), atol=1e-2)
    # More of every stain by the same factor is that much more optical density.
    darker = augment._recolour(pixels, torch.full((64, 1), 0.5), torch.ones(64, 3))
    assert torch.allclose(torch.log((darker + 1) / 256) / torch.log((pixels + 1) / 256), torch.tensor(1.1), atol=1e-3)


def test_randaugment_gets_stronger_with_its_magnitude():
    pixels = cells()
    change = [
        (changed(pixels, "randaugment", magnitude=m).float() - changed(pixels, "dihedral").float()).abs().mean()
        for m in (1, 30)
    ]
    assert change[1] > 2 * change[0]


# Not RandAugment: torchvision reads its draws as numbers, and a fake tensor has none.
@pytest.mark.parametrize("policy", ["dihedral", "cells"])
def test_shapes_are_right_on_a_device_that_computes_nothing(policy, monkeypatch):
    """Fake tensors run the code for another device without having one."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda values: values)  # fake tensors know no such memory
    with FakeTensorMode(allow_non_fake_inputs=True):
        pixels = torch.zeros(4, 3, 16, 16, dtype=torch.uint8, device="cuda")
        out = changed(pixels, policy)
    assert out.shape == pixels.shape
    assert out.device.type == "cuda"
