import dataclasses
import re

import numpy as np
import pytest
import torch
from efficientnet_pytorch import EfficientNet
from efficientnet_pytorch.utils import efficientnet
from torch import nn
from torchvision.transforms import v2

from job.errors import UserError
from job.models.network import build
from job.params import Train
from job.seeds import generator
from job.training import runtime
from job.training.batches import Normalise, PixelStore, in_batches
from job.training.bench import Bench
from job.training.fit import fit
from job.training.fold import Labelled
from job.training.inference import predict_logits, recompute_batch_norm
from tests.training.silent import NoState, Silent

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def params(**changes):
    defaults = {
        "seed": 1, "epochs": 2, "batch_size": 8, "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.001,
        "lr_step": 1, "lr_gamma": 0.5, "batch_norm": "running", "threads": 1, "device": "cpu",
        "save_every_seconds": 60,
    }  # fmt: skip
    return Train(**defaults | changes)


@pytest.fixture(scope="module")
def bench():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    pixels[::2, 8:24, 8:24] //= 4  # a class to learn: dark in the middle
    device = runtime.setup("cpu", 1)
    return Bench(PixelStore(pixels), Normalise.of(MEAN, STD, device), device)


def network(**changes):
    options = {"classes": 2, "size": 32, "dropout": 0.0, "stochastic_depth": 0.0, "pretrained": False, "seed": 2}
    return build("efficientnet-lite0", **options | changes)


ROWS = np.arange(32)
CLASSES = ROWS % 2
VALIDATION = Labelled(np.arange(32, 40), np.arange(32, 40) % 2)


def train(bench, net, rows=ROWS, targets=None, progress=None, restart=None, **changes):
    targets = torch.from_numpy(CLASSES[: len(rows)]) if targets is None else targets
    return fit(
        net, bench, name="base", rows=rows, targets=targets, validation=VALIDATION, params=params(**changes), seed=7,
        progress=progress or Silent(), restart=restart or NoState(),
    )  # fmt: skip


def test_pixels_are_normalised_as_torchvision_does(bench):
    plain = torch.from_numpy(bench.store.pixels[3]).permute(2, 0, 1)
    expected = v2.Normalize(MEAN, STD)(v2.ToDtype(torch.float32, scale=True)(plain))
    ours = bench.images(np.array([1, 3]))[1]
    assert torch.allclose(ours, expected, atol=1e-5)


def test_losses_are_those_of_a_plain_loop():
    """A reference in the usual style: NCHW, the library's own network, no trick; twenty steps.

    In double precision: in single precision the last bits of two orders of summation grow with every step.
    """
    device = runtime.setup("cpu", 1)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 48, 3), dtype=np.uint8)
    pixels[::2, 12:36, 12:36] //= 4
    single = Normalise.of(MEAN, STD, device)
    bench = Bench(PixelStore(pixels), lambda batch: single(batch).double(), device)
    start = network(size=48, pretrained=True).double()
    blocks, options = efficientnet(1.0, 1.0, 48, 0.0, 0.0, 2)
    reference = EfficientNet([block._replace(se_ratio=None) for block in blocks], options)
    for module in reference.modules():
        if hasattr(module, "_swish"):
            module._swish = nn.ReLU6()
    reference.double().load_state_dict(start.state_dict())
    optimiser = torch.optim.SGD(reference.parameters(), lr=0.001, momentum=0.9, weight_decay=0.001)
    expected = []
    reference.train()
    for epoch in range(1, 11):
        total = 0.0
        for batch in in_batches(generator(7, "order", epoch).permutation(16), 8):
            logits = reference(bench.images(batch).contiguous())
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(CLASSES[batch]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch)
        expected.append(total / 16)
        optimiser.param_groups[0]["lr"] *= 0.5
    ours = train(bench, start, rows=ROWS[:16], epochs=10, learning_rate=0.001)
    assert [epoch.train_loss for epoch in ours.history] == pytest.approx(expected, abs=1e-6)
    assert [epoch.learning_rate for epoch in ours.history] == pytest.approx([0.001 * 0.5**n for n in range(10)])


def test_twice_the_same_is_the_same_to_the_bit(bench):
    options = {"dropout": 0.5, "stochastic_depth": 0.2}
    first = train(bench, network(**options))
    torch.rand(100)  # whatever else drew numbers in between
    second = train(bench, network(**options))
    assert first.history == second.history
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)


def test_the_checkpoint_is_the_epoch_that_validates_best(bench):
    fitted = train(bench, network(), epochs=4, lr_gamma=1.0)
    scores = [(epoch.validation_accuracy, -epoch.validation_loss) for epoch in fitted.history]
    assert fitted.best_epoch == scores.index(max(scores)) + 1
    again = network()
    again.load_state_dict(fitted.state)
    logits = predict_logits(again, bench, VALIDATION.rows)
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(VALIDATION.classes)).item()
    assert loss == pytest.approx(fitted.history[fitted.best_epoch - 1].validation_loss, rel=1e-5)


def test_recomputed_statistics_are_the_means_over_the_images(bench):
    net = network()
    recompute_batch_norm(net, bench, np.concatenate([ROWS[::2], ROWS[1::2]]))
    seen = []
    handle = net._bn0.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    net.eval()
    with torch.inference_mode():
        net(bench.images(ROWS))
    handle.remove()
    assert torch.allclose(net._bn0.running_mean, seen[0].mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(net._bn0.running_var, seen[0].var((0, 2, 3)), rtol=1e-3)
    assert net._bn0.momentum == pytest.approx(0.01)


def test_predictions_keep_the_order_of_the_rows(bench):
    net = network()
    rows = np.array([5, 1, 9, 0, 7])
    together = predict_logits(net, bench, rows, batch_size=2)
    alone = torch.cat([predict_logits(net, bench, rows[[i]]) for i in range(5)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_loss_that_is_not_finite_says_where_and_what_to_do(bench):
    net = network()
    with torch.no_grad():
        net._fc.weight[0, 0] = float("inf")
    named = dataclasses.replace(bench, names=lambda rows: [f"cell {row}" for row in rows])
    first = generator(7, "order", 1).permutation(32)[:8]
    with pytest.raises(UserError, match=r"in epoch 1, step 1 of 4 \(cell .*\): lower train\.learning_rate") as caught:
        train(named, net)
    assert re.findall(r"cell (\d+)", str(caught.value)) == [str(row) for row in first]


def test_soft_targets_are_probabilities(bench):
    soft = torch.nn.functional.one_hot(torch.from_numpy(CLASSES), 2).float()
    hard = train(bench, network())
    fitted = train(bench, network(), targets=soft)
    assert [e.train_loss for e in fitted.history] == pytest.approx([e.train_loss for e in hard.history], rel=1e-4)


@pytest.mark.parametrize(
    ("count", "size", "expected"), [(31, 15, [15, 16]), (30, 15, [15, 15]), (1, 15, [1]), (33, 15, [15, 15, 3])]
)
def test_no_batch_of_one_image_is_left_over(count, size, expected):
    batches = list(in_batches(np.arange(count), size))
    assert [len(batch) for batch in batches] == expected
    assert np.concatenate(batches).tolist() == list(range(count))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_learns_the_same(bench):
    device = runtime.setup("cuda", 1)
    gpu = Bench(bench.store, Normalise.of(MEAN, STD, device), device)
    ours = train(gpu, network().to(device))
    cpu = train(bench, network())
    assert [e.train_loss for e in ours.history] == pytest.approx([e.train_loss for e in cpu.history], rel=1e-2)
