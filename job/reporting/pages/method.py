"""Method and limits: what was done, in words; how the metrics are defined; what the figures cannot say."""

from job.reporting import text
from job.reporting.figures import Page
from job.reporting.inputs import ReportInputs
from job.reporting.trace import traces


def page(inputs: ReportInputs) -> Page:
    """Never left out."""
    area = inputs.area()
    return Page(
        slug="method",
        title="Method",
        facts={
            "inputs": inputs,
            "metrics": text.METRICS.values(),
            "self_training": bool(traces(inputs)),
            "optimiser": text.OPTIMISERS[inputs.params.train.optimiser],
            "area_auroc": area["metrics"]["auroc"] if area and inputs.sizes_known else None,
        },
    )
