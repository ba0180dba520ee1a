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
    facts = [
        f"layout {summary['layout']} ({summary['layout_reason']})",
        f"{summary['images']} images of {len(summary['classes'])} classes ({', '.join(summary['classes'])})",
        *([f"positive class {summary['positive']}"] if summary["positive"] else []),
        patients if summary["patients_known"] else "unknown patients",
        f"{summary['rejected']} files refused",
        f"{summary['ignored']} ignored: no images by their names",
    ]
    return "".join(f"warning: {sentence}\n" for sentence in summary["warnings"]) + f"data/prepared: {', '.join(facts)}"
