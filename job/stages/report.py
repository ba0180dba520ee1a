"""Stage `report`: the static site from the evidence. Renders without torch and without a network."""

from job import files
from job.contracts.paths import SITE
from job.params import load
from job.reporting import inputs, site
from job.reporting.pseudonyms import pseudonymous


def run() -> str:
    """Render site/ from results/, data/split.json, data/prepared/summary.json and params.yaml; the closing sentence."""
    params = load()
    evidence = inputs.read(params)
    if params.report.pseudonyms:  # every name of a patient or file is replaced before a page sees it
        evidence = pseudonymous(evidence)
    with files.replacing_folder(SITE) as folder:
        pages = site.render(evidence, folder)
    return f"{len(pages)} pages written: open {SITE / 'index.html'}"
