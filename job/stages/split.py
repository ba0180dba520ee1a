"""Stage `split`: who is held out, which fold validates what, which labels are masked."""

from pathlib import Path

import pandas as pd

from job import params
from job.data.split import split, truth
from job.files import existing, replacing, write_json


def run() -> str:
    """Write `data/split.csv`, `data/truth.csv`, `data/split.json`."""
    index = pd.read_csv(
        existing(Path("data/prepared/index.csv")),
        dtype={"image": str, "label": str, "patient": str, "subject": str},
        keep_default_na=False,
    )
    table, proof = split(index, params.load().split)
    for name, frame in (("split", table), ("truth", truth(index))):
        with replacing(Path(f"data/{name}.csv")) as temporary:
            frame.to_csv(temporary, index=False, lineterminator="\n")
    write_json(Path("data/split.json"), proof)
    roles = table["role"].value_counts()
    counts = ", ".join(f"{roles.get(role, 0)} {role}" for role in ("train", "test", "unlabelled"))
    return f"data/split.csv: {counts} images, {len(proof['folds'])} folds, no subject in both training and test"
