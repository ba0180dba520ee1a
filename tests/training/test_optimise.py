import math

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR, StepLR

from job.params import load
from job.training.state import averaged, factor, make_optimiser
from tests import ROOT


def params(**changes):
    return load(ROOT / "params.yaml").train.model_copy(update={"schedule": "step"} | changes)


@pytest.mark.parametrize(
    ("changes", "reference"),
    [
        ({"lr_step": 3, "lr_gamma": 0.5}, lambda o: StepLR(o, 3, 0.5)),
        ({"schedule": "cosine"}, lambda o: CosineAnnealingLR(o, 12)),
        (
            {"schedule": "cosine", "warmup_epochs": 3},
            lambda o: SequentialLR(o, [LinearLR(o, 1 / 4, 1, 3), CosineAnnealingLR(o, 9)], [3]),
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")
def test_learning_rates_are_those_of_torch(changes, reference):
    theirs = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = reference(theirs)
    expected = []
    for _ in range(12):
        expected.append(theirs.param_groups[0]["lr"])
        theirs.step()
        scheduler.step()
    ours = [0.1 * factor(epoch, params(epochs=12, **changes)) for epoch in range(12)]
    assert ours == pytest.approx(expected)


def test_the_optimiser_is_the_one_asked_for_and_leaves_frozen_weights_alone():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(requires_grad=False)
    sgd = make_optimiser(network, params(momentum=0.5, weight_decay=0.1))
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.5, 0.1)
    assert {id(p) for p in sgd.param_groups[0]["params"]} == {id(p) for p in network[1].parameters()}
    assert isinstance(make_optimiser(network, params(optimiser="adamw")), torch.optim.AdamW)


def test_a_first_step_that_fp16_skips_leaves_no_momentum():
    """The scaler begins too high, so that the first step overflows: torch would go on from unfilled memory."""
    network = nn.Linear(64, 64, bias=False)
    optimiser, scaler = make_optimiser(network, params()), torch.amp.GradScaler("cpu")
    before = network.weight.detach().clone()
    for gradient in (math.inf, 1.0):
        scaler.scale((network.weight * gradient).sum()).backward()
        scaler.step(optimiser)
        scaler.update()
        optimiser.zero_grad()
    rate = optimiser.param_groups[0]["lr"]
    torch.testing.assert_close(network.weight, before - rate)


def test_averaged_weights_follow_the_written_rule():
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    average = averaged(network, params(ema_decay=0.9))
    assert averaged(network, params()) is None
    expected = None
    for value in (1.0, 3.0, -2.0):
        nn.init.constant_(network[0].weight, value)
        average.update_parameters(network)
        expected = value if expected is None else 0.9 * expected + 0.1 * value
    assert average.module[0].weight.item() == pytest.approx(expected)
