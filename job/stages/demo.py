"""Stage `demo`: draw the synthetic cells that stand in for C-NMC 2019 where the real images are not at hand."""

from tqdm import tqdm

from job.contracts import paths
from job.demo import cohort
from job.files import replacing_folder
from job.params import load


def run() -> str:
    """Write `data/raw/demo/`; returns a sentence saying what was written."""
    demo = load().demo
    with (
        replacing_folder(paths.DEMO) as folder,
        tqdm(total=demo.images + demo.unlabelled, disable=None, unit="cell") as bar,
    ):
        cohort.write(folder, **demo.model_dump(), drawn=bar.update)
    return (
        f"Wrote {demo.images} labelled images of {demo.patients} synthetic patients "
        f"and {demo.unlabelled} unlabelled ones to {paths.DEMO}."
    )
