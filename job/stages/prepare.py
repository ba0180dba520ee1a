"""Stage `prepare`: from a folder of images to an index and a pixel store."""

from job.contracts import paths
from job.data.prepare import prepare
from job.files import replacing_folder, write_json
from job.params import load


def run() -> str:
    """Write `data/prepared/`."""
    with replacing_folder(paths.PREPARED) as folder:
        summary = prepare(load().data, folder)
        write_json(folder / "summary.json", summary)
    patients = f"{summary['patients']} patients ({summary['subjects']} subjects)"
    warnings = "".join(f"warning: {sentence}\n" for sentence in summary["warnings"])
    return (
        f"{warnings}data/prepared: layout {summary['layout']} ({summary['layout_reason']}), {summary['images']} images "
        f"of {len(summary['classes'])} classes and {patients if summary['patients_known'] else 'unknown patients'}, "
        f"{summary['rejected']} files refused"
    )
