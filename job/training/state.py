"""Training state: everything that the next batch depends on, so that a training can be saved and resumed."""

import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Self, cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from job.errors import UserError
from job.params import Train
from job.training.history import Epoch, Fitted, State, snapshot
from job.training.parallel import ALONE, World

_VALUES = ("epoch", "figures", "rng_state", "best", "best_state")


@dataclass
class TrainState:
    """The state of one network's training between two batches.

    `parallel` is the network as a training step calls it, compiled if that is wanted; its backward pass averages
    gradients over all processes of the fold. `figures` has for each finished step of this epoch its loss, its number of
    correctly classified images, and the number of images that this is about: (3,) float64, left on the device, because
    reading a number back would make a GPU wait at every step.
    """

    network: nn.Module
    parallel: nn.Module
    device: torch.device
    precision: str  # `fp32`, or `bf16` or `fp16` for the operations that autocast runs in half precision
    world: World
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler  # of the loss, so that gradients in fp16 do not vanish; no-op in other precisions
    average: AveragedModel | None  # of the weights over the steps
    epoch: int = 1
    figures: list[torch.Tensor] = field(default_factory=list)
    rng_state: list[torch.Tensor] = field(default_factory=list)  # of dropout and stochastic depth; on the CPU
    history: list[Epoch] = field(default_factory=list)  # of the finished epochs
    best: int = 0  # number of the best of them, 0 before the first has ended
    best_state: State = field(default_factory=dict)

    @classmethod
    def start(cls, network: nn.Module, device: torch.device, settings: Train, world: World = ALONE) -> Self:
        """The state before the first batch."""
        precision = resolve_precision(settings.precision, device)
        scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        parallel = world.wrap(network)
        if settings.compile:
            parallel = compiled(parallel, settings)
        optimiser, average = make_optimiser(network, settings), averaged(network, settings)
        return cls(network, parallel, device, precision, world, optimiser, scaler, average)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept."""
        return self.network if self.average is None else self.average.module

    def set_rate(self, settings: Train) -> None:
        """Give the optimiser the learning rate of the present epoch."""
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * factor(self.epoch - 1, settings)

    def forward(self, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Pass several batches through the network as one, so that batch norm sees them together.

        From normalised images, (B, 3, S, S) each, to the logits of each, (B, C) float32.
        """
        half = torch.float16 if self.precision == "fp16" else torch.bfloat16
        with torch.autocast(self.device.type, dtype=half, enabled=self.precision != "fp32"):
            logits = self.parallel(images[0] if len(images) == 1 else torch.cat(images)).float()
        parts: tuple[torch.Tensor, ...] = logits.split([len(part) for part in images])
        return parts

    def learn(self, loss: torch.Tensor, correct: torch.Tensor) -> None:
        """Take a step of the optimiser for this process's part of the loss; its images are `correct` or not, (N,)."""
        self.optimiser.zero_grad(set_to_none=True)
        # Gradients are averaged over the processes, but the loss of the step is the sum of their parts.
        self.scaler.scale(loss * self.world.size).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.network)
        # Filled in by the device: a number that is sent there would wait for it.
        count = torch.full((), len(correct), dtype=torch.float64, device=loss.device)
        self.figures.append(torch.stack([loss.detach().double(), correct.sum().double(), count]))

    def end_epoch(self, epoch: Epoch) -> None:
        """Add a finished epoch to the history, keep its weights if it is the best, and begin the next."""
        self.history.append(epoch)
        if not self.best or epoch.score > self.history[self.best - 1].score:
            self.best = epoch.epoch
            self.best_state = snapshot(self.evaluated)
        self.epoch += 1
        self.figures, self.rng_state = [], []

    def fitted(self) -> Fitted:
        """The best epoch so far and its weights."""
        return Fitted(self.best_state, self.history[self.best - 1], self.history)

    def capture(self, *, finished: bool = False) -> dict[str, Any]:
        """The state as `Restart` saves it; of a finished training what `fitted` needs, without the network as it is."""
        parts = {} if finished else {name: part.state_dict() for name, part in self._parts().items()}
        history = [asdict(epoch) for epoch in self.history]
        return parts | {name: getattr(self, name) for name in _VALUES} | {"history": history}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what `capture` returned, with all its tensors on the CPU."""
        for name, part in self._parts().items():
            if name in saved:
                part.load_state_dict(saved[name])
        for name in _VALUES:
            setattr(self, name, saved[name])
        # Later steps add to these on the device; generators take their states from the CPU.
        self.figures = [step.to(self.device) for step in self.figures]
        self.history = [Epoch(**epoch) for epoch in saved["history"]]

    def _parts(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimiser": self.optimiser, "scaler": self.scaler, "average": self.average}
        return {name: part for name, part in parts.items() if part is not None}


def resolve_precision(precision: str, device: torch.device) -> str:
    """What `train.precision=auto` means on a device: a fixed table, never timed.

    A CPU without bf16 instructions trains no faster in it. On CUDA half precision is what tensor cores are
    for; bf16 needs no scaling of the loss, and exists from compute capability 8.0 on.
    """
    if precision != "auto":
        return precision
    if device.type == "cpu":
        return "fp32"
    return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"


def compiled(network: nn.Module, settings: Train) -> nn.Module:
    """The network with a forward and a backward pass of fused kernels: one graph for each size of batch."""
    if not shutil.which(os.environ.get("CXX", "g++")):
        raise UserError(
            "train.compile=true needs a C++ compiler: on Debian and Ubuntu, apt-get install g++; or use false"
        )
    # Networks of one class share a limit of graphs: those of students before this one would count, if none was resumed.
    torch.compiler.reset()
    # In deterministic mode no clock chooses between kernels that round differently.
    return cast(nn.Module, torch.compile(network, dynamic=False, options={"deterministic": settings.deterministic}))


@contextmanager
def seeded(seed: int, device: torch.device, state: Sequence[torch.Tensor] = ()) -> Iterator[None]:
    """Run a block with the global generators set to `seed`, and restore them afterwards.

    Each epoch is seeded by itself, so that its draws do not depend on what ran before it. With the `state` that
    `rng_state` returned within an earlier block the generators go on from there.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        if state:
            torch.set_rng_state(state[0])
            for gpu, gpu_state in zip(devices, state[1:], strict=True):
                torch.cuda.set_rng_state(gpu_state, gpu)
        yield


def rng_state(device: torch.device) -> list[torch.Tensor]:
    """States of the global generators: that of the CPU, then that of the GPU where `device` is one."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def make_optimiser(network: nn.Module, settings: Train) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW (Loshchilov & Hutter 2019), over the weights that require gradients."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(weights, lr=rate, weight_decay=decay, fused=True)
    sgd = torch.optim.SGD(weights, lr=rate, momentum=settings.momentum, weight_decay=decay, fused=True)
    if settings.momentum:
        # torch 2.14 fills a momentum in the first step, and leaves it unfilled where fp16 skips that one (an overflow).
        for weight in weights:
            sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return sgd


def factor(epoch: int, settings: Train) -> float:
    """Share of `train.learning_rate` in an epoch, counted from 0.

    A linear rise over `warmup_epochs`, then steps (times `lr_gamma` every `lr_step` epochs) or half a cosine down to
    nothing after the last epoch (Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts).
    """
    if epoch < settings.warmup_epochs:
        return (epoch + 1) / (settings.warmup_epochs + 1)
    after = epoch - settings.warmup_epochs
    if settings.schedule == "step":
        return float(settings.lr_gamma ** (after // settings.lr_step))
    return 0.5 * (1 + math.cos(math.pi * min(1.0, after / (settings.epochs - settings.warmup_epochs))))


def averaged(network: nn.Module, settings: Train) -> AveragedModel | None:
    """A running average of weights and batch-norm statistics, or None when `train.ema_decay` is 0.

    Exponential moving average with decay `train.ema_decay` per step (torch.optim.swa_utils); Noisy Student's source
    evaluates such an average (decay 0.9999 over hundreds of thousands of steps).
    """
    if not settings.ema_decay:
        return None
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay), use_buffers=True)  # type: ignore[no-untyped-call]
