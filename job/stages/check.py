"""Stage `check`: the parameters as a whole and the layout of the data, before anything runs: a typo costs a second."""

from pathlib import Path

from job.contracts import paths
from job.data import layouts
from job.data.tree import check_own_test
from job.files import awaits_fetch, write_json
from job.params import load


def run() -> str:
    """Validate `params.yaml`; the output is a constant, so that later stages rerun only for their own sections."""
    params = load()
    root = Path(params.data.root)
    # A folder that DVC tracks and has not fetched may be missing: `dvc repro --pull --allow-missing` may never need it.
    if root != paths.DEMO and not awaits_fetch(root):
        listing = layouts.read(root, params.data.layout, params.data.positive)
        check_own_test(sum(entry.origin == "test" for entry in listing.entries), params.split.test)
    write_json(paths.CHECKED, {"parameters": "valid"})
    return "params.yaml is valid"
