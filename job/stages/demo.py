"""Stage `demo`: draw the synthetic cells that stand in for C-NMC 2019 where the real images are not at hand."""

from tqdm import tqdm

from job import params
from job.contracts import paths
from job.demo import cohort as demo
from job.files import replacing_folder


def run() -> str:
    """Write `data/raw/demo/`; returns a sentence saying what was written."""
    wanted = params.load().demo
    with (
        replacing_folder(paths.DEMO) as folder,
        tqdm(total=wanted.images + wanted.unlabelled, disable=None, unit="cell") as bar,
    ):
        demo.write(folder, **wanted.model_dump(), drawn=bar.update)
    return (
        f"Wrote {wanted.images} labelled images of {wanted.patients} synthetic patients "
        f"and {wanted.unlabelled} unlabelled ones to {paths.DEMO}."
    )
