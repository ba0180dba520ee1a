"""Stage `split`: who is held out, which fold validates what, which labels are masked."""

import pandas as pd

from job.contracts import paths
from job.data.tree import check_own_test
from job.files import existing, write_json, write_text
from job.params import load
from job.split.assignment import split, truth


def run() -> str:
    """Write `data/split.csv`, `data/truth.csv`, `data/split.json`."""
    text = dict.fromkeys(("image", "label", "patient", "subject"), str)
    index = pd.read_csv(existing(paths.INDEX), dtype=text, keep_default_na=False)
    settings = load().split
    check_own_test(int((index["origin"] == "test").sum()), settings.test)
    table, proof = split(index, settings)
    write_text(paths.SPLIT, table.to_csv(index=False, lineterminator="\n"))
    write_text(paths.TRUTH, truth(index).to_csv(index=False, lineterminator="\n"))
    write_json(paths.SPLIT_FACTS, proof)
    roles = table["role"].value_counts()
    counts = ", ".join(f"{roles.get(role, 0)} {role}" for role in ("train", "test", "unlabelled"))
    facts = [f"{counts} images", f"{len(proof['folds'])} folds", "no subject in both training and test"]
    return f"data/split.csv: {', '.join(facts)}" + "".join(f"; {one}" for one in proof["left_out"]["sentences"])
