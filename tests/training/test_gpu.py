"""What runs on a GPU, without one: torch's fake tensors know device and shape, and refuse to mix devices.

The backward pass needs a driver and is not covered here; real tests behind the marker `gpu` run where there is one.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from benchmarks.gpu import on_fake_gpu
from job.errors import StoppedError
from job.inference import runtime
from job.inference.pixels import Context, Normalise, PixelStore
from job.inference.predict import predict_logits
from job.models.network import build, normalisation
from job.training.restart import Restart
from job.training.state import TrainState, resolve_precision
from tests.training.test_fit import CLASSES, ROWS, context, network, params, train  # noqa: F401 - a fixture
from tests.training.test_restart import StopAfter, same

CUDA = torch.device("cuda")
PIXELS = np.zeros((4, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("backbone", ["efficientnet-b0", "efficientnet-lite0", "torchvision/resnet18"])
def test_batch_forward_and_loss_stay_on_the_device(backbone, precision, resident, monkeypatch):
    # Autocast asks the driver, and switches itself off where there is none.
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda values: values)  # fake tensors know no such memory
    real = build(backbone, classes=2, size=64, dropout=0.5, stochastic_depth=0.2, seed=1)
    with FakeTensorMode(allow_non_fake_inputs=True), CUDA:
        store = PixelStore(PIXELS, torch.zeros(PIXELS.shape, dtype=torch.uint8) if resident else None)
        context = Context(store, Normalise.of(*normalisation(backbone), CUDA), CUDA)
        net = on_fake_gpu(real)
        rows = np.array([2, 0, 3])
        images = context.images(rows)
        assert images.device.type == "cuda"
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
        state = TrainState.start(net.train(), CUDA, params(device="cuda", precision=precision))
        kinds = []
        net.register_forward_hook(lambda _module, _inputs, output: kinds.append(output.dtype))
        (logits,) = state.forward(images)
        half = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        assert logits.dtype == torch.float32
        targets = torch.tensor([0, 1, 0, 1])[torch.from_numpy(rows).to(CUDA)]
        assert functional.cross_entropy(logits.float(), targets).device.type == "cuda"
        predicted = predict_logits(net, context, rows)
        assert kinds == [half, torch.float32]  # half precision in the training step alone
        assert predicted.device.type == "cpu"
        assert predicted.dtype == torch.float32


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_precision_is_a_fixed_table_by_device(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert resolve_precision("auto", CUDA) == expected
    assert resolve_precision("auto", torch.device("cpu")) == "fp32"
    assert resolve_precision("fp16", CUDA) == "fp16"


@pytest.mark.parametrize(("free", "fits"), [(10 * PIXELS.nbytes, True), (PIXELS.nbytes, False)])
def test_the_store_goes_to_the_gpu_where_it_fits(monkeypatch, free, fits):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (free, free))
    with FakeTensorMode(allow_non_fake_inputs=True):
        near = PixelStore(PIXELS).near(CUDA)
    assert (near.resident is not None) == fits
    assert PixelStore(PIXELS).near(torch.device("cpu")).resident is None


def on_gpu(cpu, device):
    """The same context with its tensors on a GPU."""
    normalise = Normalise(cpu.normalise.scale.to(device), cpu.normalise.shift.to(device))
    return dataclasses.replace(cpu, store=cpu.store.near(device), normalise=normalise, device=device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_learns_the_same(context, precision):  # noqa: F811
    device = runtime.setup(params(device="cuda"))
    ours = train(on_gpu(context, device), network().to(device), device="cuda", precision=precision)
    cpu = train(context, network())
    close = 1e-2 if precision == "fp32" else 1e-1
    assert [e.train_loss for e in ours.history] == pytest.approx([e.train_loss for e in cpu.history], rel=close)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_goes_on_in_the_middle_of_an_epoch(context, tmp_path):  # noqa: F811
    device = runtime.setup(params(device="cuda"))
    gpu = on_gpu(context, device)
    options = {"dropout": 0.5, "stochastic_depth": 0.2}
    settings = {"device": "cuda", "precision": "bf16"}
    expected = train(gpu, network(**options).to(device), **settings)
    stopping = dataclasses.replace(gpu, check=StopAfter(2))
    with pytest.raises(StoppedError):
        train(stopping, network(**options).to(device), restart=Restart(tmp_path, 1e9), **settings)
    same(train(gpu, network(**options).to(device), restart=Restart(tmp_path, 1e9), **settings), expected)
