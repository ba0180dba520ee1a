"""`make ablation`: what each part of self-training brings, as experiments of DVC and one table.

Every arm of `benchmarks.arms` is one experiment per seed, in a clone of this repository under `.work/ablation/`. The
command may be killed anywhere and started again. The table goes to `benchmarks/ablation.csv` and, ready for
docs/results.md, to the terminal.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks import ablation_table
from benchmarks.arms import ARMS, COMMON, SEEDS, Arm, experiment
from benchmarks.experiments import Clone, Settings, opened
from job.errors import UserError

FOLDER = Path(".work/ablation")
TABLE = Path(__file__).with_name("ablation.csv")


def main() -> int:
    """Run what is missing, then write and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="experiments at a time")
    options = parser.parse_args()
    try:
        with opened(FOLDER) as clone:
            table = run(clone, ARMS, SEEDS, COMMON, options.jobs)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    TABLE.write_text(table.to_csv(index=False, lineterminator="\n"), encoding="utf-8")
    print(ablation_table.markdown(table))
    return 0


def run(clone: Clone, arms: Sequence[Arm], seeds: Sequence[int], common: Settings, jobs: int) -> pd.DataFrame:
    """Every experiment that is not there yet, and the table of all.

    Raises:
        UserError: an experiment failed, or the repository has changes that are not committed.
    """
    clone.prepare(common)
    experiments: dict[str, Settings] = {
        experiment(arm.name, seed): {
            "methods": f"[{arm.method}]", "train.seed": seed, "folds": f"[{seed}]", **arm.settings,
        }
        for seed in seeds for arm in arms if not arm.run
    }  # fmt: skip
    clone.run_all(experiments, jobs)
    return ablation_table.build(clone, arms, seeds)


if __name__ == "__main__":
    sys.exit(main())
