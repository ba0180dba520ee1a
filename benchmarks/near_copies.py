"""What the bar of near copies costs on real cells: `python -m benchmarks.near_copies --root DIR`.

All cells of C-NMC's training part, compared by the code of `job.data.near_copies`. At each bar: how many pairs are near
copies, how many pairs of patients they link, how many subjects are left; and how many pairs of cells that are taken for
different ones reach it. These are of two patients whom the default bar does not link: all pairs among some random cells
whose outlines cover each other, and those that the sketches propose, which are the likest there are. Some of the latter
may be one cell after all, so theirs is an upper bound. Writes `benchmarks/near_copies.csv`. Ten minutes on one core.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.study_tables import markdown
from job.data import near_copies, subjects
from job.data.near_copies import NearCopy
from job.data.prepare import prepare
from job.errors import UserError
from job.params import load
from job.seeds import generator

BARS = (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9)
TABLE = Path(__file__).with_suffix(".csv")


def main() -> int:
    """Compare, write the table and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.near_copies", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder that holds training_data/ of C-NMC 2019")
    parser.add_argument("--cells", type=int, default=1_600, help="cells of whose pairs all are compared")
    options = parser.parse_args()
    try:
        index = listed(options.root)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    paths = [options.root / image for image in index["image"]]
    proposals = near_copies.propose(near_copies.sketches(paths, 1))
    proposed = near_copies.measured(paths, proposals, 1)
    default = load().data.near_copies
    index["subject"] = subject(index, proposed, default)
    chosen = generator(2019, "near copies").permutation(len(paths))[: options.cells]
    drawn = agreements([paths[row] for row in chosen], index["subject"].iloc[chosen].tolist())
    table = by_bar(index, proposed, drawn)
    TABLE.write_text(table.to_csv(index=False, float_format="%.6g", lineterminator="\n"), encoding="utf-8")
    sizes = index.groupby("subject").size()
    people = index["patient"].nunique()
    print(
        f"{len(index):,} images of {people} patients; the sketches propose {len(proposed):,} pairs.\n"
        f"Of {len(chosen):,} random cells, {len(drawn):,} pairs of two subjects have outlines that cover each other. "
        f"Their largest agreement is {drawn.max():.3f}, the 99.9th percentile {np.quantile(drawn, 0.999):.3f}.\n"
        f"A subject, as linked at {default}, has {sizes.mean():.0f} images in the mean; that of a random image has "
        f"{(sizes**2).sum() / sizes.sum():.0f}: what leaves training for one false link to a test patient.\n\n"
        f"{markdown(table)}"
    )
    return 0


def listed(root: Path) -> pd.DataFrame:
    """Image, patient and digest of the pixels of every image of the training part."""
    settings = load().data.model_copy(
        update={"root": str(root), "layout": "c-nmc", "pixels": 32, "crop": 0, "near_copies": 0.0}
    )
    with tempfile.TemporaryDirectory() as folder:
        prepare(settings, Path(folder))
        index = pd.read_csv(Path(folder) / "index.csv", dtype={"patient": str}, keep_default_na=False)
    return index[index["origin"].str.startswith("fold_")].reset_index(drop=True)


def subject(index: pd.DataFrame, pairs: Sequence[NearCopy], bar: float) -> pd.Series:
    """The subject of every image when the pairs that reach the bar are near copies."""
    linked = [(pair.one, pair.other) for pair in reaching(pairs, bar)]
    return subjects.assign(index.assign(cell=subjects.cells(index["pixel_sha256"], linked)))


def reaching(pairs: Sequence[NearCopy], bar: float) -> list[NearCopy]:
    """The pairs that `near_copies.find` takes for one cell at this bar."""
    return [pair for pair in pairs if pair.overlap >= near_copies.LEAST_OVERLAP and pair.agreement >= bar]


def agreements(paths: Sequence[Path], subject: Sequence[str]) -> np.ndarray:
    """Agreement of every pair of these cells of two subjects whose outlines cover each other."""
    views = [near_copies._read(str(path), 1) for path in tqdm(paths, desc="cells", disable=None)]
    areas = [int(view.cell.sum()) for view in views]
    found = []
    for one, other in tqdm(combinations(range(len(views)), 2), total=len(views) * (len(views) - 1) // 2, disable=None):
        small, large = sorted((areas[one], areas[other]))
        # Other sizes cannot cover each other: seen before the comparison, which takes most of the time.
        if subject[one] != subject[other] and small >= near_copies.LEAST_OVERLAP * large:
            overlap, agreement = near_copies.compare(views[one], views[other])
            if overlap >= near_copies.LEAST_OVERLAP:
                found.append(agreement)
    return np.array(found)


def by_bar(index: pd.DataFrame, proposed: Sequence[NearCopy], drawn: np.ndarray) -> pd.DataFrame:
    """A row per bar; `index` has the subjects that are linked at the default bar."""
    patient, default, digest = (index[name].to_numpy() for name in ("patient", "subject", "pixel_sha256"))
    rows = []
    for bar in BARS:
        near = [pair for pair in reaching(proposed, bar) if digest[pair.one] != digest[pair.other]]
        people = {frozenset((patient[pair.one], patient[pair.other])) for pair in near}
        rows.append({
            "bar": str(bar),
            "near copies": len(near),
            "pairs of patients linked": sum(len(pair) == 2 for pair in people),
            "subjects": subject(index, proposed, bar).nunique(),
            "of proposed pairs of patients not linked by default": sum(
                default[pair.one] != default[pair.other] for pair in near
            ),
            f"of {len(drawn):,} random pairs": int((drawn >= bar).sum()),
        })  # fmt: skip
    return pd.DataFrame(rows)


if __name__ == "__main__":
    sys.exit(main())
