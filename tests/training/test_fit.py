import dataclasses
import re

import numpy as np
import pytest
import torch
from efficientnet_pytorch import EfficientNet
from efficientnet_pytorch.utils import efficientnet
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch._dynamo.testing import CompileCounter
from torchvision.transforms import v2

from job.contracts.split import Fold, Labelled
from job.errors import UserError
from job.inference import runtime
from job.inference.pixels import Context, Normalise, PixelStore, in_batches
from job.inference.predict import predict_logits
from job.models.network import build
from job.params import load
from job.seeds import derive, generator
from job.training.augment import augmented
from job.training.batch import Source, steps
from job.training.fit import Trainer, recompute_batch_norm
from job.training.parallel import ALONE
from job.training.task import Task
from tests import ROOT
from tests.training.silent import NoState, Silent

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def params(**changes):
    small = {
        "seed": 1, "epochs": 2, "batch_size": 8, "learning_rate": 0.01, "schedule": "step", "lr_step": 1,
        "lr_gamma": 0.5, "weight_decay": 0.001, "batch_norm": "running", "threads": 1, "device": "cpu",
    }  # fmt: skip
    return load(ROOT / "params.yaml").train.model_copy(update=small | changes)


def pixels():
    """Noise; every other image is dark in the middle: a class to learn."""
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    images[::2, 8:24, 8:24] //= 4
    return images


@pytest.fixture(scope="module")
def context():
    device = runtime.setup(params())
    return Context(PixelStore(pixels()), Normalise.of(MEAN, STD, device), device)


def network(backbone="efficientnet-lite0", **changes):
    options = {"classes": 2, "size": 32, "dropout": 0.0, "stochastic_depth": 0.0, "seed": 2}
    return build(backbone, **options | changes)


ROWS = np.arange(32)
CLASSES = ROWS % 2
VALIDATION = Labelled(np.arange(32, 40), np.arange(32, 40) % 2)


SEED = derive(1, "train", "fold", 1, "fit", "base")


def task(context, rows=ROWS, progress=None, restart=None, world=ALONE, names=list, **changes):
    everything = load(ROOT / "params.yaml").model_copy(update={"train": params(**changes)})
    fold = Fold(1, Labelled(rows, CLASSES[: len(rows)]), VALIDATION, ROWS[:0], ROWS[:0])
    silent, nowhere = progress or Silent(), restart or NoState()
    return Task(fold, ("HEM", "ALL"), context, everything, silent, nowhere, world, names)


def train(context, net, sources=None, **options):
    whole = task(context, **options)
    return Trainer(whole, "base", sources or [whole.labelled()]).fit(net)


def test_pixels_are_normalised_as_torchvision_does(context):
    plain = torch.from_numpy(context.store.pixels[3]).permute(2, 0, 1)
    expected = v2.Normalize(MEAN, STD)(v2.ToDtype(torch.float32, scale=True)(plain))
    ours = context.images(np.array([1, 3]))[1]
    assert torch.allclose(ours, expected, atol=1e-5)


def plain_losses(reference, context, epochs, rate):
    """The usual loop: NCHW, the library's own network, no trick; the mean loss of each epoch of two batches."""
    optimiser = torch.optim.SGD(reference.parameters(), lr=rate, momentum=0.9, weight_decay=0.001)
    losses = []
    reference.train()
    for epoch in range(1, epochs + 1):
        total = 0.0
        for batch in in_batches(generator(SEED, "order", epoch).permutation(16), 8):
            logits = reference(context.images(batch).contiguous())
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(CLASSES[batch]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch)
        losses.append(total / 16)
        optimiser.param_groups[0]["lr"] *= 0.5
    return losses


@pytest.mark.parametrize(
    ("backbone", "double", "close"),
    [
        ("efficientnet-b0", False, 1e-4),
        ("efficientnet-lite0", True, 1e-6),
    ],
)
def test_losses_are_those_of_a_plain_loop(backbone, double, close):
    """Twenty steps in float32, where last bits grow with every step, and in float64, where nothing may."""
    rate = 0.001
    pretrained = "none" if backbone == "efficientnet-b0" else "imagenet"
    device = runtime.setup(params())
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 48, 3), dtype=np.uint8)
    pixels[::2, 12:36, 12:36] //= 4
    single = Normalise.of(MEAN, STD, device)
    context = Context(PixelStore(pixels), (lambda batch: single(batch).double()) if double else single, device)
    start = network(backbone=backbone, size=48, pretrained=pretrained)
    blocks, options = efficientnet(1.0, 1.0, 48, 0.0, 0.0, 2)
    if backbone == "efficientnet-lite0":
        blocks = [block._replace(se_ratio=None) for block in blocks]
    reference = EfficientNet(blocks, options)
    for module in reference.modules():
        if hasattr(module, "_swish") and backbone == "efficientnet-lite0":
            module._swish = nn.ReLU6()
    reference.load_state_dict(start.state_dict())
    if double:
        start, reference = start.double(), reference.double()
    expected = plain_losses(reference, context, epochs=10, rate=rate)
    ours = train(context, start, rows=ROWS[:16], epochs=10, learning_rate=rate)
    assert [epoch.train_loss for epoch in ours.history] == pytest.approx(expected, abs=close)
    assert [epoch.learning_rate for epoch in ours.history] == pytest.approx([rate * 0.5**n for n in range(10)])


def test_half_precision_is_for_the_training_step_alone(context):
    """Statistics, validation and prediction are those of the exported network, and of a CPU."""
    net, half = network(), []
    net.register_forward_pre_hook(lambda _module, _inputs: half.append(torch.is_autocast_enabled("cpu")))
    train(context, net, epochs=1, precision="bf16", batch_norm="recomputed")
    assert half == [True] * 4 + [False, False]


def test_a_compiled_step_is_one_graph(context, monkeypatch):
    """As torch captures it, without breaks; what its compiler makes of the graph is a matter of the device."""
    counter, compile_ = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda net, **_options: compile_(net, backend=counter, dynamic=False))
    plain = train(context, network(), epochs=1)
    compiled = train(context, network(), epochs=1, compile=True)
    assert counter.frame_count == 1
    assert [epoch.train_loss for epoch in compiled.history] == [epoch.train_loss for epoch in plain.history]
    assert compiled.state.keys() == plain.state.keys()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"train\.compile=true needs a C\+\+ compiler"):
        train(context, network(), epochs=1, compile=True)


def test_statistics_need_some_thousand_images_and_no_more(context, monkeypatch):
    monkeypatch.setattr("job.training.fit.STATISTICS_IMAGES", 8)
    some, all_ = network(), network()
    recompute_batch_norm(some, context, ROWS)
    monkeypatch.undo()
    recompute_batch_norm(all_, context, ROWS[:8])
    assert torch.equal(some._bn0.running_mean, all_._bn0.running_mean)


def test_twice_the_same_is_the_same_to_the_bit(context):
    options = {"dropout": 0.5, "stochastic_depth": 0.2}
    first = train(context, network(**options))
    torch.rand(100)  # whatever else drew numbers in between
    second = train(context, network(**options))
    assert first.history == second.history
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)


def test_the_checkpoint_is_the_epoch_that_validates_best(context):
    fitted = train(context, network(), epochs=4, lr_gamma=1.0)
    scores = [(epoch.validation_accuracy, -epoch.validation_loss) for epoch in fitted.history]
    assert fitted.best == fitted.history[scores.index(max(scores))]
    again = network()
    again.load_state_dict(fitted.state)
    logits = predict_logits(again, context, VALIDATION.rows)
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(VALIDATION.classes)).item()
    assert loss == pytest.approx(fitted.best.validation_loss, rel=1e-5)


def test_recomputed_statistics_are_the_means_over_the_images(context):
    net = network()
    recompute_batch_norm(net, context, np.concatenate([ROWS[::2], ROWS[1::2]]))
    inputs_of_norm = []
    handle = net._bn0.register_forward_pre_hook(lambda _module, inputs: inputs_of_norm.append(inputs[0]))
    net.eval()
    with torch.inference_mode():
        net(context.images(ROWS))
    handle.remove()
    assert torch.allclose(net._bn0.running_mean, inputs_of_norm[0].mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(net._bn0.running_var, inputs_of_norm[0].var((0, 2, 3)), rtol=1e-3)
    assert net._bn0.momentum == pytest.approx(0.01)


def test_predictions_keep_the_order_of_the_rows(context):
    net = network()
    rows = np.array([5, 1, 9, 0, 7])
    together = predict_logits(net, context, rows, batch_size=2)
    alone = torch.cat([predict_logits(net, context, rows[[i]]) for i in range(5)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_loss_that_is_not_finite_says_where_and_what_to_do(context):
    net = network()
    with torch.no_grad():
        net._fc.weight[0, 0] = float("inf")
    first = generator(SEED, "order", 1).permutation(32)[:8]
    with pytest.raises(UserError, match=r"in epoch 1, step 1 of 4 \(cell .*\): lower train\.learning_rate") as caught:
        train(context, net, names=lambda rows: [f"cell {row}" for row in rows])
    assert re.findall(r"cell (\d+)", str(caught.value)) == [str(row) for row in first]


def test_soft_targets_are_probabilities(context):
    soft = torch.nn.functional.one_hot(torch.from_numpy(CLASSES), 2).float()
    hard = train(context, network())
    fitted = train(context, network(), sources=[Source(ROWS, soft, 8)])
    assert [e.train_loss for e in fitted.history] == pytest.approx([e.train_loss for e in hard.history], rel=1e-4)


def test_class_weights_are_scikit_learns(context):
    whole = task(context, ROWS[:7], class_weights="balanced")
    expected = compute_class_weight("balanced", classes=np.arange(2), y=CLASSES[:7])
    assert whole.labelled().class_weights.tolist() == pytest.approx(expected)
    assert task(context, class_weights="none").labelled().class_weights is None


def test_what_is_minimised_is_the_written_sum(context):
    """Weights, smoothing and classes' weights of two sources, against torch's loss on a network that stands still."""
    net = network()
    soft = torch.full((16, 2), 0.5)
    first = Source(ROWS[16:], soft, 16, weight=3.0)
    second = Source(ROWS[:8], torch.from_numpy(CLASSES[:8]), 8, smoothing=0.1, class_weights=torch.tensor([2.0, 0.5]))
    fitted = train(context, net, sources=[first, second], epochs=1, learning_rate=1e-12)
    again = network()
    again.train()
    (step,) = steps([first, second], 1, 7)
    logits = again(torch.cat([context.images(first.rows[step[0]]), context.images(second.rows[step[1]])]))
    weighted = nn.functional.cross_entropy(
        logits[16:], second.targets[step[1]], weight=torch.tensor([2.0, 0.5]), label_smoothing=0.1
    )
    expected = 3 * nn.functional.cross_entropy(logits[:16], soft) + weighted
    assert fitted.history[0].train_loss == pytest.approx(expected.item(), rel=1e-5)


@given(st.lists(st.tuples(st.integers(2, 30), st.integers(2, 12)), min_size=1, max_size=3), st.integers(1, 9))
def test_an_epoch_is_one_pass_over_the_first_source(sizes, epoch):
    sources = [Source(np.arange(count), torch.zeros(count), batch) for count, batch in sizes]
    plan = steps(sources, epoch, 3)
    assert sorted(np.concatenate([step[0] for step in plan])) == list(range(sizes[0][0]))
    for number, (count, batch) in list(enumerate(sizes))[1:]:
        assert all(len(step[number]) == batch for step in plan)
        drawn = np.concatenate([step[number] for step in plan])
        # Nobody comes a third time before everybody came twice.
        assert np.ptp(np.bincount(drawn, minlength=count)) <= 1


def test_noise_is_new_in_every_epoch_and_never_in_validation(context, monkeypatch):
    draws = []

    def spy(pixels, policy, **options):
        draws.append((policy, options["seed"]))
        return augmented(pixels, policy, **options)

    monkeypatch.setattr("job.training.batch.augmented", spy)
    loads = []
    counting = dataclasses.replace(context, check=lambda: loads.append(len(draws)))
    train(counting, network(), augment="cells", batch_norm="recomputed")
    assert [policy for policy, _ in draws] == 8 * ["cells"]
    assert len({seed for _, seed in draws}) == 8
    # An epoch loads 4 batches of training, 1 for statistics and 1 of validation: the last two are as they are.
    assert loads == [0, 1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 8]


def test_the_average_of_the_weights_is_what_is_kept(context):
    plain = train(context, network(), epochs=1)
    averaged = train(context, network(), epochs=1, ema_decay=0.5)
    assert [e.train_loss for e in averaged.history] == [e.train_loss for e in plain.history]
    net = network()
    net.load_state_dict(averaged.state)
    logits = predict_logits(net, context, VALIDATION.rows)
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(VALIDATION.classes)).item()
    assert loss == pytest.approx(averaged.best.validation_loss, rel=1e-5)
    assert not torch.equal(averaged.state["_fc.weight"], plain.state["_fc.weight"])


def test_patience_ends_a_model_that_gets_no_better(context):
    fitted = train(context, network(), epochs=30, patience=2, learning_rate=1e-12, batch_norm="recomputed")
    assert len(fitted.history) == fitted.best.epoch + 2
    assert len(train(context, network(), epochs=4, patience=0, learning_rate=1e-12).history) == 4


@pytest.mark.parametrize(
    ("count", "size", "expected"), [(31, 15, [15, 16]), (30, 15, [15, 15]), (1, 15, [1]), (33, 15, [15, 15, 3])]
)
def test_no_batch_of_one_image_is_left_over(count, size, expected):
    batches = list(in_batches(np.arange(count), size))
    assert [len(batch) for batch in batches] == expected
    assert np.concatenate(batches).tolist() == list(range(count))
