"""Stage `prepare`: from a folder of images to an index and a pixel store."""

from job import params
from job.contracts import paths
from job.data.prepare import prepare
from job.files import replacing_folder, write_json


def run() -> str:
    """Write `data/prepared/`."""
    with replacing_folder(paths.PREPARED) as folder:
        summary = prepare(params.load().data, folder)
        write_json(folder / "summary.json", summary)
    known = f"{summary['patients']} patients ({summary['subjects']} subjects)"
    warnings = "".join(f"warning: {sentence}\n" for sentence in summary["warnings"])
    return (
        f"{warnings}data/prepared: layout {summary['layout']} ({summary['layout_reason']}), {summary['images']} images "
        f"of {len(summary['classes'])} classes and {known if summary['patients_known'] else 'unknown patients'}, "
        f"{summary['rejected']} files refused"
    )
