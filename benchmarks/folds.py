"""The stage `train` as DVC runs it: its memory, and two folds at a time against one after the other."""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tests.pipeline import repository

TURNS = 5


def run() -> dict[str, float]:
    """`train_peak_mib` and `parallel_folds`."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        return {"train_peak_mib": _peak_mib(folder), "parallel_folds": _folds(folder)}


def _peak_mib(folder: Path) -> float:
    """Largest resident size of the stage `train`: two epochs of B0, 300 px, batches of 15."""
    repo = repository.create(folder / "peak")
    change = {
        "methods": ["efficientnet"],
        "data": {"pixels": 300, "crop": 0},
        "train": {"epochs": 2, "batch_size": 15},
    }
    repository.change(repo, change | {"model": {"backbone": "efficientnet-b0", "weights": "none"}})
    repository.run(repo, "dvc", "repro", "split")
    command = ["python", "-m", "job", "stage", "train", "--method", "efficientnet", "--fold", "1"]
    with subprocess.Popen(command, cwd=repo, env=repository.ENVIRONMENT, stdout=subprocess.DEVNULL) as process:
        _, process.returncode, usage = os.wait4(process.pid, 0)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


def _folds(root: Path) -> float:
    """Five folds one after the other against two at a time, each with one thread."""
    repo = repository.create(root / "repository")
    change = {"folds": [1, 2, 3, 4, 5], "methods": ["efficientnet"], "split": {"folds": 5}, "data": {"pixels": 64}}
    repository.change(repo, change | {"train": {"epochs": 4}})
    repository.run(repo, "dvc", "repro", "split")
    ratios = []
    for turn in range(TURNS):
        repository.change(repo, {"train": {"seed": turn}})
        seconds = []
        for jobs in ("1", "2"):
            for folder in ("runs/efficientnet", "predictions/efficientnet", ".dvc/cache/runs"):
                shutil.rmtree(repo / folder, ignore_errors=True)
            (repo / "dvc.lock").unlink(missing_ok=True)
            repository.run(repo, "dvc", "repro", "split")
            started = time.perf_counter()
            repository.run(repo, "python", "-m", "job", "folds", "--jobs", jobs)
            seconds.append(time.perf_counter() - started)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios)
