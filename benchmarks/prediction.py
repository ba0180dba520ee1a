"""New cells: memory at 1,000 and 10,000 images, and the exported file's speed beside torch's."""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from job.ensemble.networks import TorchEnsemble
from job.ensemble.onnx_file import OnnxEnsemble

CELLS = Path("data/raw/demo/training_data")
BATCH = 32


def run() -> dict[str, float]:
    """Measure with the ensemble of the demo (`make report` makes it)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        memory = {count: _peak_mib(folder, count) for count in (1_000, 10_000)}
        return {
            "predict_mib_1000": memory[1_000],
            "predict_mib_10000": memory[10_000],
            "onnx_vs_torch": _onnx_vs_torch(folder),
        }


def _peak_mib(folder: Path, count: int) -> float:
    """Largest resident size of `python -m job predict` on this many images, in MiB."""
    cells = sorted(CELLS.rglob("*.png"))
    images = folder / str(count)
    images.mkdir()
    for number in range(count):
        (images / f"{number}.png").symlink_to(cells[number % len(cells)].resolve())
    command = [sys.executable, "-m", "job", "predict", str(images), "--out", str(folder / f"{count}.csv")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        peak = 0.0
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            peak = max([peak, *(int(kib) / 1024 for kib in re.findall(r"VmHWM:\s+(\d+)", status))])
            time.sleep(0.2)
    assert process.returncode == 0
    return peak


def _onnx_vs_torch(folder: Path) -> float:
    """Images per second of the ONNX file over torch's, both with all cores: median of seven alternating rounds."""
    file = folder / "ensemble.onnx"
    command = [sys.executable, "-m", "job", "export", "--out", str(file)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    torch, onnx = TorchEnsemble("efficientnet"), OnnxEnsemble(file)
    store = np.load("data/prepared/images.npy", mmap_mode="r")
    pixels = np.array(store[:BATCH])
    ratios = []
    for _ in range(8):
        seconds = []
        for ensemble in (torch, onnx):
            start = time.perf_counter()
            for _ in range(4):
                ensemble.judge(pixels)
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
    return float(np.median(ratios[1:]))
