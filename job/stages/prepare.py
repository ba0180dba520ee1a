"""Stage `prepare`: from a folder of images to an index and a pixel store."""

from pathlib import Path

from job import params
from job.data.prepare import prepare
from job.files import replacing_folder, write_json


def run() -> str:
    """Write `data/prepared/`."""
    with replacing_folder(Path("data/prepared")) as folder:
        summary = prepare(params.load().data, folder)
        write_json(folder / "summary.json", summary)
    return (
        f"data/prepared: {summary['images']} images of {summary['patients']} patients "
        f"({summary['subjects']} subjects), {summary['rejected']} files refused"
    )
