"""`python -m benchmarks.seeds`: how far the demo's figures move with the seed of training and with the processor.

Three seeds (initialisation, order, noise), and the first of them once more as an older processor computes: PyTorch and
oneDNN then use AVX2 alone. A row of `benchmarks/seeds.csv` is a run on the processor it names, so that rows of other
machines can be added. Takes a quarter of an hour on two cores; may be killed, and resumes.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch

from benchmarks.experiments import opened
from benchmarks.study_tables import markdown
from job.errors import UserError

TABLE = Path(__file__).with_name("seeds.csv")
SEEDS = {"": (42, 1, 2), "AVX2": (42,)}
"""By the instructions that are allowed; empty for all that the processor has."""


def main() -> int:
    """Run each set of instructions in a process of its own, because PyTorch asks for it only once."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeds", description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="*", help="run these as the environment says (all, in processes of their own)")
    if chosen := parser.parse_args().seeds:
        return _run(chosen)
    for limit, seeds in SEEDS.items():
        limits = {"ATEN_CPU_CAPABILITY": limit.lower(), "ONEDNN_MAX_CPU_ISA": limit} if limit else {}
        command = [sys.executable, "-m", "benchmarks.seeds", *map(str, seeds)]
        if code := subprocess.run(command, env=os.environ | limits, check=False).returncode:
            return code
    print(markdown(pd.read_csv(TABLE)))
    return 0


def _run(seeds: list[str]) -> int:
    processor = f"{_model()}, {torch.backends.cpu.get_cpu_capability()}"
    try:
        # A folder of its own: DVC's run cache does not know the processor, and would answer for another one.
        with opened(Path(".work/seeds") / processor.replace(" ", "-").replace(",", "")) as clone:
            clone.prepare({})
            clone.run_all({f"seed-{seed}": {"train.seed": int(seed)} for seed in seeds}, jobs=2)
            rows = [
                {"processor": processor, "seed": int(seed), "method": method} | entry["majority"] | entry["mean"]
                for seed in seeds
                for method, entry in json.loads(clone.read(f"seed-{seed}", "results/summary.json")).items()
                if "majority" in entry
            ]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    table = pd.DataFrame(rows)
    if TABLE.exists():
        before = pd.read_csv(TABLE)
        table = pd.concat([before[before["processor"] != processor], table])
    TABLE.write_text(table.to_csv(index=False, float_format="%.4f", lineterminator="\n"), encoding="utf-8")
    return 0


def _model() -> str:
    lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return lines[0].split(":")[1].strip() if lines else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
