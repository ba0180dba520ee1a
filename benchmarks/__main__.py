"""`make bench`: run the measurements, print a table, keep the figures in `benchmarks/results.json`.

Every area is a module with `run() -> dict[str, float]`. `python -m benchmarks NAME …` runs some of them; the figures
of the others stay as they are.
"""

import argparse
import importlib
import os
import platform
from pathlib import Path

import torch

from job.files import read_json, write_json

AREAS: tuple[str, ...] = ("data", "training", "gpu", "folds", "evidence", "prediction", "report")
RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    """Run the areas named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=", ".join(AREAS))
    figures = read_json(RESULTS) if RESULTS.exists() else {}
    areas = parser.parse_args().areas or AREAS
    if unknown := set(areas) - set(AREAS):
        parser.error(f"there is no area {', '.join(sorted(unknown))}; there are {', '.join(AREAS)}")
    for area in areas:
        print(f"{area} …", flush=True)
        measured = importlib.import_module(f"benchmarks.{area}").run()
        for name, value in measured.items():
            print(f"  {name:<32}{value:>12.3f}", flush=True)
        figures |= measured
        # Written after every area: an hour's figures survive what stops the next one.
        write_json(RESULTS, figures | _machine())


def _machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
