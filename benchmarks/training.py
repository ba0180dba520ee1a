"""Speed of training and prediction against the published style, and what data and restart states cost.

Each side has a process of its own, because the allocator's setting holds for a whole process. The sides take turns, so
that whatever else the machine does meets both.
"""

import math
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import published
from job import params
from job.contracts.split import Fold, Labelled
from job.data import images
from job.demo import cells
from job.inference import runtime
from job.inference.pixels import Context, Normalise, PixelStore
from job.inference.predict import predict_logits
from job.methods import efficientnet
from job.models.network import build, fuse_batch_norm, normalisation
from job.params import Params
from job.seeds import generator
from job.training.progress import Progress
from job.training.restart import Restart
from job.training.task import Task

BATCH, PAIRS = 15, 5
ROWS = np.arange(BATCH)
CLASSES = ("hem", "all")


def run() -> dict[str, float]:
    """Every figure of this area."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        paths = draw(folder)
        return _speeds(paths, folder) | _costs(paths, folder)


def draw(folder: Path, count: int = BATCH) -> list[Path]:
    """Synthetic cells as the originals are: BMP files of 450x450."""
    paths = [folder / f"{number}.bmp" for number in range(count)]
    for number, path in enumerate(paths):
        cell = cells.sample(CLASSES[number % 2], generator(0, "patient", number), generator(0, "cell", number))
        Image.fromarray(cells.draw(cell, generator(0, "draw", number))).save(path)
    return paths


def _settings() -> Params:
    """B0 on all cores of the CPU, for one epoch."""
    settings = params.load()
    changes = {
        "model": {"backbone": "efficientnet-b0", "weights": "none", "weights_sha256": ""},
        "train": {"device": "cpu", "threads": multiprocessing.cpu_count(), "epochs": 1, "batch_norm": "running"},
    }
    return settings.model_copy(
        update={name: getattr(settings, name).model_copy(update=change) for name, change in changes.items()}
    )


def _context(settings: Params, paths: list[Path], size: int, crop: int) -> Context:
    device = runtime.setup(settings.train, keep_memory=settings.machine.keep_memory)
    pixels = np.stack([images.read(path, size, crop, "cell")[0] for path in paths])
    return Context(PixelStore(pixels), Normalise.of(*normalisation("efficientnet-b0"), device), device)


class _Clock(Progress):
    """Notes when each batch was done."""

    def __init__(self) -> None:
        super().__init__("efficientnet", 1, "cpu", silent=True)
        self.times: list[float] = []

    def images(self, count: int) -> None:  # noqa: ARG002 - its size is the same every time
        self.times.append(time.perf_counter())


class _States(Restart):
    """States that are saved and never taken up; `seconds` that each took."""

    def __init__(self, folder: Path, every_seconds: float) -> None:
        super().__init__(folder, every_seconds)
        self.seconds: list[float] = []

    def save(self, name: str, state: dict[str, Any]) -> None:
        started = time.perf_counter()
        super().save(name, state)
        self.seconds.append(time.perf_counter() - started)

    def load(self, name: str) -> dict[str, Any] | None:  # noqa: ARG002 - every training starts anew
        return None


class Training:
    """The method `efficientnet` on three batches of the same images, as the stage `train` does it."""

    def __init__(self, paths: list[Path], folder: Path, size: int, crop: int, every: float = math.inf) -> None:
        settings = _settings()
        self.context = _context(settings, paths, size, crop)
        self.states = _States(folder, every)
        rows = np.tile(ROWS, 3)
        fold = Fold(1, Labelled(rows, rows % 2), Labelled(ROWS[:2], ROWS[:2] % 2), ROWS[:0], ROWS[:0])
        self.clock = _Clock()
        self.task = Task(fold, CLASSES, self.context, settings, self.clock, self.states)

    def __call__(self) -> float:
        """Seconds of a step, the first left out."""
        self.clock.times.clear()
        efficientnet.train(self.task)
        return (self.clock.times[-1] - self.clock.times[0]) / (len(self.clock.times) - 1)


class Prediction:
    """Five networks on the same images, as the stage `predict` does it."""

    def __init__(self, paths: list[Path], size: int, crop: int) -> None:
        self.context = _context(_settings(), paths, size, crop)
        self.networks = [
            fuse_batch_norm(
                build("efficientnet-b0", classes=2, size=size, dropout=0.0, stochastic_depth=0.0, seed=seed).eval()
            )
            for seed in range(5)
        ]

    def __call__(self) -> float:
        """Seconds of one pass."""
        started = time.perf_counter()
        for network in self.networks:
            predict_logits(network, self.context, ROWS)
        return time.perf_counter() - started


class _Side:
    """A process that does one piece of work on demand."""

    def __init__(self, work: Callable[..., Callable[[], float]], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._end, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, work, arguments), daemon=True)
        self._process.start()
        self.seconds()  # the first piece of work prepares the library's kernels

    def seconds(self) -> float:
        """What the work returns."""
        self._end.send("again")
        seconds: float = self._end.recv()
        return seconds

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()


def _serve(connection: Connection, work: Callable[..., Callable[[], float]], arguments: tuple[Any, ...]) -> None:
    ready = work(*arguments)
    while True:
        connection.recv()
        connection.send(ready())


def _speeds(paths: list[Path], folder: Path) -> dict[str, float]:
    """Ratios to the published style, medians over pairs of turns."""
    figures = {}
    for sides in (
        {"published": (published.Training, paths), "train_same_pixels": (Training, paths, folder / "same", 450, 0),
         "train_cropped": (Training, paths, folder / "cropped", 300, 300)},
        {"published": (published.Prediction, paths), "inference": (Prediction, paths, 300, 300)},
    ):  # fmt: skip
        running = {name: _Side(*arguments) for name, arguments in sides.items()}
        turns = [{name: side.seconds() for name, side in running.items()} for _ in range(PAIRS)]
        for name, side in running.items():
            side.stop()
            if name != "published":
                figures[name] = statistics.median(turn["published"] / turn[name] for turn in turns)
                figures[f"{name}_images_per_second"] = BATCH / statistics.median(turn[name] for turn in turns)
    return figures


def _costs(paths: list[Path], folder: Path) -> dict[str, float]:
    """Shares of a step that wait for data, and of training that saves states."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_costs_alone, (paths, folder / "costs"))


def _costs_alone(paths: list[Path], folder: Path) -> dict[str, float]:
    saving = Training(paths, folder, 300, 300, every=0.0)
    saving()
    saves = statistics.median(saving.states.seconds)
    work = Training(paths, folder, 300, 300)
    work()
    waits, steps = [], []
    for _ in range(PAIRS):
        started = time.perf_counter()
        work.context.images(ROWS)
        waits.append(time.perf_counter() - started)
        steps.append(work())
    # An epoch of the published length (6,500 images) takes longer than the time between two states.
    every = max(params.load().machine.save_every_seconds, saves)
    return {
        "data_wait_share": statistics.median(waits) / statistics.median(steps),
        "restart_cost_share": saves / every,
    }
