"""`prepare` against a bare loop over the same files, and its memory with a thousand and with all images of C-NMC.

The files are 450 pixel BMPs of synthetic cells, each different from the others, made for the occasion and deleted.
"""

import hashlib
import io
import multiprocessing
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from job.data.prepare import prepare
from job.demo import cells
from job.params import Data, load
from job.seeds import generator

SPEED_IMAGES = 1_000
REPEATS = 5
MEMORY_IMAGES = (1_000, 12_528)
DRAWN = 24  # cells drawn; the files differ by where they lie


def run() -> dict[str, float]:
    """Speed as a ratio (seconds of a bare loop over those of `prepare`), memory as peak of anonymous pages in MiB."""
    data = load().data
    figures: dict[str, float] = {}
    with _files(max(MEMORY_IMAGES)) as everything:
        with _some(everything, SPEED_IMAGES) as root:
            settings = data.model_copy(update={"root": str(root)})
            ratios = []
            for _ in range(REPEATS):
                bare, ours = _bare(root, settings.pixels), _seconds(settings)
                ratios.append(bare / ours)
                figures["prepare_images_per_second"] = SPEED_IMAGES / ours
        figures["prepare_vs_bare_loop"] = statistics.median(ratios)
        for count in MEMORY_IMAGES:
            with _some(everything, count) as root:
                settings = data.model_copy(update={"root": str(root)})
                figures[f"prepare_memory_mib_{count}_images"] = _peak(settings)
    return figures


@contextmanager
def _files(count: int) -> Iterator[list[Path]]:
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-data-", suffix=".tmp") as name:
        folder = Path(name)
        drawn = []
        for number in range(DRAWN):
            rng = generator(0, "benchmark", number)
            drawn.append(cells.draw(cells.sample(("all", "hem")[number % 2], rng, rng), rng))
        paths = []
        for number in range(count):
            pixels = np.roll(drawn[number % DRAWN], number // DRAWN, axis=1)
            paths.append(folder / f"{number}.bmp")
            Image.fromarray(pixels).save(paths[-1])
        yield paths


@contextmanager
def _some(paths: list[Path], count: int) -> Iterator[Path]:
    """A C-NMC folder of hard links to the first files; odd ones are healthy."""
    root = paths[0].parent / "root"
    for number, path in enumerate(paths[:count]):
        label, patient = (("all", ""), ("hem", "H"))[number % 2]
        folder = root / "training_data" / f"fold_{number % 3}" / label
        folder.mkdir(parents=True, exist_ok=True)
        os.link(path, folder / f"UID_{patient}{number % 50 + 1}_{number}_1_{label}.bmp")
    try:
        yield root
    finally:
        shutil.rmtree(root)


def _bare(root: Path, size: int) -> float:
    """Seconds of reading, hashing file and pixels, decoding and resizing, with a process per core and nothing else."""
    paths = [str(path) for path in sorted(root.rglob("*.bmp"))]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_one, paths[:8], [size] * 8))  # the processes are up
        started = time.perf_counter()
        for _ in pool.map(_one, paths, [size] * len(paths), chunksize=16):
            pass
        return time.perf_counter() - started


def _one(path: str, size: int) -> tuple[npt.NDArray[np.uint8], str, str]:
    content = Path(path).read_bytes()
    image = Image.open(io.BytesIO(content))
    image.load()
    digests = hashlib.sha256(content).hexdigest(), hashlib.sha256(image.tobytes()).hexdigest()
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)), *digests


def _seconds(settings: Data) -> float:
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-data-", suffix=".tmp") as out:
        started = time.perf_counter()
        prepare(settings, Path(out))
        return time.perf_counter() - started


def _peak(settings: Data) -> float:
    """Peak of anonymous memory of a fresh process that prepares, sampled every 5 milliseconds."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_measured, args=(settings, theirs))
    process.start()
    peak: float = ours.recv()
    process.join()
    return peak


def _measured(settings: Data, answer: Connection) -> None:
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            lines = Path("/proc/self/status").read_text().splitlines()
            peak = max(peak, next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _seconds(settings)
    done.set()
    watcher.join()
    answer.send(peak / 1024)
