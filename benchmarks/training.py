"""Speed of training and prediction against the published style, and what data and restart states cost.

Each side has a process of its own, because the allocator's setting holds for a whole process. The sides take turns, so
that what else the machine does meets both.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import published
from job import params
from job.data import images
from job.demo import cells
from job.inference import runtime
from job.inference.context import Context
from job.inference.pixels import Normalise, PixelStore
from job.inference.predict import predict_logits
from job.models.network import build, normalisation
from job.seeds import generator
from job.training.batch import Batch, supervised
from job.training.restart import Restart
from job.training.source import Source
from job.training.state import TrainState
from job.training.world import ALONE

BATCH, PAIRS = 15, 5
ROWS = np.arange(BATCH)


def run() -> dict[str, float]:
    """Every figure of this area."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        paths = _draw(folder)
        figures = _speeds(paths)
        figures |= _alone(_costs, paths, folder)
        figures |= _alone(_shares, paths)
    return figures


def _draw(folder: Path) -> list[Path]:
    """A batch of synthetic cells as the originals are: BMP files of 450x450."""
    paths = [folder / f"{number}.bmp" for number in range(BATCH)]
    for number, path in enumerate(paths):
        kind = ("hem", "all")[number % 2]
        cell = cells.sample(kind, generator(0, "patient", number), generator(0, "cell", number))
        Image.fromarray(cells.draw(cell, generator(0, "draw", number))).save(path)
    return paths


def _context(paths: list[Path], size: int, crop: int) -> Context:
    values = params.load()
    device = runtime.setup(values.train.model_copy(update={"device": "cpu", "threads": multiprocessing.cpu_count()}))
    pixels = np.stack([images.read(path, size, crop, "cell")[0] for path in paths])
    return Context(PixelStore(pixels), Normalise.of(*normalisation("efficientnet-b0"), device), device)


def _network() -> torch.nn.Module:
    return build("efficientnet-b0", classes=2, size=450, dropout=0.2, stochastic_depth=0.2, seed=0)


class Training:
    """One batch per call, as the stage `train` does it."""

    def __init__(self, paths: list[Path], size: int, crop: int) -> None:
        self.context = _context(paths, size, crop)
        self.state = TrainState.start(_network().train(), self.context, params.load().train)
        self.source = Source(ROWS, torch.from_numpy(ROWS % 2), BATCH)

    def __call__(self) -> None:
        """Train."""
        batch = Batch(self.context, [self.source], (ROWS,), 0, 0, ALONE)
        self.state.learn(*supervised(self.state, batch))


class Prediction:
    """Five networks on the same images, as the stage `predict` does it."""

    def __init__(self, paths: list[Path], size: int, crop: int) -> None:
        self.context = _context(paths, size, crop)
        self.networks = [_network() for _ in range(5)]

    def __call__(self) -> None:
        """Predict."""
        for network in self.networks:
            predict_logits(network, self.context, ROWS)


class _Side:
    """A process that does one piece of work whenever it is told to."""

    def __init__(self, make: Callable[..., Callable[[], None]], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._end, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, make, arguments), daemon=True)
        self._process.start()
        self.seconds()  # the first piece of work prepares the library's kernels

    def seconds(self) -> float:
        self._end.send("again")
        seconds: float = self._end.recv()
        return seconds

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()


def _serve(connection: Connection, make: Callable[..., Callable[[], None]], arguments: tuple[Any, ...]) -> None:
    work = make(*arguments)
    while True:
        connection.recv()
        started = time.perf_counter()
        work()
        connection.send(time.perf_counter() - started)


def _speeds(paths: list[Path]) -> dict[str, float]:
    """Ratios to the published style, medians over pairs of turns."""
    figures = {}
    for sides in (
        {"": (published.Training, paths), "train_same_pixels": (Training, paths, 450, 0),
         "train_cropped": (Training, paths, 300, 300)},
        {"": (published.Prediction, paths), "inference": (Prediction, paths, 300, 300)},
    ):  # fmt: skip
        running = {name: _Side(*arguments) for name, arguments in sides.items()}
        turns = [{name: side.seconds() for name, side in running.items()} for _ in range(PAIRS)]
        for side in running.values():
            side.stop()
        for name in sides:
            if name:
                figures[name] = statistics.median(turn[""] / turn[name] for turn in turns)
                figures[f"{name}_images_per_second"] = BATCH / statistics.median(turn[name] for turn in turns)
    return figures


def _costs(paths: list[Path], folder: Path) -> dict[str, float]:
    """Shares of a step that wait for data, of training that saves states, and of the arithmetic that the CPU can do."""
    work = Training(paths, 300, 300)
    work()
    waits, steps = [], []
    for _ in range(PAIRS):
        started = time.perf_counter()
        work.context.images(ROWS)
        waits.append(time.perf_counter() - started)
        started = time.perf_counter()
        work()
        steps.append(time.perf_counter() - started)
    saves = []
    states = Restart(folder / "state", 0)
    state = work.state
    state.best_state = {name: value.clone() for name, value in state.network.state_dict().items()}
    for _ in range(PAIRS):
        started = time.perf_counter()
        states.save("base", {"base": state.capture()})
        saves.append(time.perf_counter() - started)
    # A state is saved every so many seconds; an epoch of the published length (6,500 images) takes longer than that.
    every = max(params.load().machine.save_every_seconds, statistics.median(saves))
    # Forward alone is counted, and the backward pass taken as twice that: the counter takes the gradients of depthwise
    # convolutions for those of dense ones.
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        state.network(work.context.images(ROWS))
    square = torch.randn(2048, 2048)
    products = []
    for _ in range(PAIRS):
        started = time.perf_counter()
        square @ square
        products.append(time.perf_counter() - started)
    rate = 2 * 2048**3 / min(products)
    return {
        "data_wait_share": statistics.median(waits) / statistics.median(steps),
        "restart_cost_share": statistics.median(saves) / every,
        "arithmetic_share": 3 * counter.get_total_flops() / statistics.median(steps) / rate,
    }


PARTS = {
    "matrix_products": ("mm", "addmm", "addmm_"),
    "convolutions": ("mkldnn_convolution", "convolution_backward"),
    "norms": ("native_batch_norm", "native_batch_norm_backward", "batch_norm_update_stats", "addcmul", "addcmul_"),
    "activations": ("sigmoid", "silu", "silu_", "silu_backward"),
}
"""What torch's operations belong to; `addcmul` applies a norm, and a few times the slope of an activation."""


def _shares(paths: list[Path]) -> dict[str, float]:
    """What takes the time of a training step, 300 px: shares of it."""
    work = Training(paths, 300, 300)
    work()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(2):
            work()
    seconds = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in seen.key_averages()}
    total = sum(seconds.values())
    shares = {
        f"step_share_{part}": sum(seconds.get(name, 0) for name in names) / total for part, names in PARTS.items()
    }
    return shares | {"step_share_rest": 1 - sum(shares.values())}


def _alone(measure: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)
