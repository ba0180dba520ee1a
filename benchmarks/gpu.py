"""A training step on a GPU: operations, memory traffic and waits, counted anywhere; images per second, where a GPU is.

Counted with tensors that have a device and a shape but no values: torch runs the code for a GPU without having one. An
operation is at least one launch of a kernel; its traffic is the bytes that it reads and writes. A wait is a moment in
which the host stands still until the GPU has done all that it was given: then nothing is prepared for the next step.
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import distributed, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import published
from benchmarks.training import BATCH, draw
from job import params
from job.inference import runtime
from job.inference.pixels import Context, Normalise, PixelStore
from job.models.network import build, normalisation
from job.training.batch import Batch, Source, supervised
from job.training.parallel import ALONE, World
from job.training.state import TrainState

BACKBONE, SIDE = "efficientnet-b0", 450
WAYS: dict[str, dict[str, bool]] = {
    "": {},
    "_any_order": {"deterministic": False, "cudnn_benchmark": True},
    "_compiled": {"compile": True},
}
FREE = ("empty", "detach", "lift_fresh", "is_pinned")  # operations that launch nothing


def run() -> dict[str, float]:
    """Every figure of this area."""
    figures = counts(15) | counts(256) | messages()
    if not torch.cuda.is_available():
        print("  no GPU that torch can use is here: counted, and no images per second measured", flush=True)
        return figures
    device = torch.device("cuda")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        loop = published.Training(draw(Path(name)), device)
        loop()
        figures["gpu_published"] = BATCH / min(loop() for _ in range(3))
    return figures | speeds(device)


class Count(TorchDispatchMode):
    """Counts what runs in its block."""

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.bytes, self.waits = 0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count it."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        inputs, outputs = (
            [leaf for leaf in tree_leaves(part) if isinstance(leaf, torch.Tensor)] for part in ((args, kwargs), result)
        )
        devices = {tensor.device.type for tensor in (*inputs, *outputs)}
        if devices != {"cpu"} and not func.is_view and not name.startswith(FREE):
            self.operations += 1
            self.bytes += sum(tensor.nbytes for tensor in (*inputs, *outputs))
        moved = len(devices) > 1 and name in ("_to_copy", "copy_") and not _without_waiting(func, args, kwargs)
        # A value that is read back, and the check of a factorisation's error code.
        self.waits += moved or name in ("_local_scalar_dense", "_linalg_check_errors", "nonzero")
        return result


def _without_waiting(func: Any, args: Any, kwargs: Any) -> bool:
    position = next(place for place, one in enumerate(func._schema.arguments) if one.name == "non_blocking")
    return bool((kwargs or {}).get("non_blocking", args[position] if len(args) > position else False))


def counts(batch: int) -> dict[str, float]:
    """Operations and GiB of a step, forward and backward without the optimiser, in bf16; waits by augmentation."""
    with torch.device("meta"):
        state, step = _start(_network(SIDE).to("meta"), "none", batch)
        # Autocast knows no such device: all is in half precision here, and the casts of weights are not counted.
        state.network.to(torch.bfloat16)
        with Count() as counted:
            step.supervised(0, state.network(step.images(0).bfloat16())).backward()
    figures = {f"gpu_{batch}_operations": float(counted.operations), f"gpu_{batch}_gib": counted.bytes / 2**30}
    networks = {policy: _network(SIDE) for policy in ("none", "dihedral", "cells")}
    with FakeTensorMode(allow_non_fake_inputs=True), ExitStack() as stack:
        # Fake tensors know no memory that does not move, and no driver, which autocast and the backward pass ask for.
        stack.enter_context(patch.object(torch.Tensor, "pin_memory", lambda values: values))
        stack.enter_context(patch.object(torch.Tensor, "backward", lambda _loss: None))
        stack.enter_context(patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False))
        stack.enter_context(patch("torch.cuda.is_bf16_supported", lambda: True))
        for policy, network in networks.items():
            state, step = _start(on_fake_gpu(network), policy, batch, precision="bf16")
            with Count() as counted:
                state.learn(*supervised(state, step))
            figures[f"gpu_{batch}_waits_{policy}"] = float(counted.waits)
    return figures


def messages() -> dict[str, float]:
    """What each of several GPUs on one fold sends in a step, by kind.

    A process that is alone on a CPU counts those of `DistributedDataParallel`. `nn.SyncBatchNorm` needs GPUs: by its
    source (torch/nn/modules/_functions.py) it sends the statistics of each norm, and then their gradients.
    """
    network = _network(64)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        shared = World(size=2).wrap(network)
        images = torch.zeros(2, 3, 64, 64)
        for _ in range(2):  # it puts gradients that are ready together into one message, after it has seen a step
            shared(images).sum().backward()
        with profile(activities=[ProfilerActivity.CPU]) as events:
            shared(images).sum().backward()
    finally:
        distributed.destroy_process_group()
    sent = {event.key: event.count for event in events.key_averages() if event.key.startswith("gloo:")}
    return {
        "gpu_messages_gradients": float(sent.pop("gloo:all_reduce")),
        "gpu_messages_norms": 2.0 * norms,
        "gpu_messages_other": float(sum(sent.values())),
    }


def on_fake_gpu(network: nn.Module) -> nn.Module:
    """The network with tensors of the same shape and memory order on a GPU that is not there; in a `FakeTensorMode`."""
    for module in network.modules():
        for tensors in (module._parameters, module._buffers):
            for name, value in tensors.items():
                if value is not None:
                    fake = torch.empty_like(value, device="cuda")
                    tensors[name] = nn.Parameter(fake) if isinstance(value, nn.Parameter) else fake
    return network


def _network(side: int) -> nn.Module:
    return build(BACKBONE, classes=2, size=side, dropout=0.5, stochastic_depth=0.2, seed=0).train()


def _start(network: nn.Module, augment: str, batch: int, side: int = SIDE, **changes: Any) -> tuple[TrainState, Batch]:
    """The state before a network's first step, and a batch of black images on its device."""
    device = next(network.parameters()).device
    settings = params.load().train.model_copy(update={"device": device.type, "precision": "fp32"} | changes)
    pixels = np.zeros((batch, side, side, 3), dtype=np.uint8)
    store = PixelStore(pixels, torch.zeros(pixels.shape, dtype=torch.uint8, device=device))
    context = Context(store, Normalise.of(*normalisation(BACKBONE), device), device)
    rows = np.arange(batch)
    with torch.device("cpu"):
        targets = torch.from_numpy(rows % 2)
    source = Source(rows, targets, batch, augment=augment)
    return TrainState.start(network, device, settings), Batch(context, [source], (rows,), 9, 1, ALONE)


def speeds(
    device: torch.device, side: int = SIDE, batches: Sequence[int] = (15, 256), steps: int = 20
) -> dict[str, float]:
    """Images per second of steps as the stage `train` takes them."""
    figures = {}
    for batch in batches:
        for name, changes in WAYS.items():
            runtime.setup(params.load().train.model_copy(update={"device": device.type} | changes))
            state, step = _start(_network(side).to(device), "none", batch, side, precision="auto", **changes)
            for _ in range(3):  # what is prepared once
                state.learn(*supervised(state, step))
            state.figures[-1].cpu()  # the GPU has ended
            started = time.perf_counter()
            for _ in range(steps):
                state.learn(*supervised(state, step))
            state.figures[-1].cpu()
            figures[f"gpu_{batch}{name}"] = batch * steps / (time.perf_counter() - started)
    return figures
