"""Stage `report`: the static site from the evidence. Renders without torch and without a network."""

from pathlib import Path

from job import files, params
from job.reporting import inputs, site

SITE = Path("site")


def run() -> str:
    """Render site/ from results/, data/split.json, data/prepared/summary.json and params.yaml; the closing sentence.

    Raises:
        UserError: an input is missing or a parameter is wrong.
    """
    found = inputs.read(params.load())
    with files.replacing_folder(SITE) as folder:
        pages = site.render(found, folder)
    return f"{len(pages)} pages written: open {SITE / 'index.html'}"
