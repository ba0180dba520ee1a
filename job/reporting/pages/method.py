"""Method and limits: what was done, in words; how the metrics are defined; what the figures cannot say."""

from job.reporting import text
from job.reporting.figures import Page
from job.reporting.inputs import ReportInputs
from job.reporting.trace import traces


def page(inputs: ReportInputs) -> Page:
    """Never left out."""
    area, winner = inputs.area(), inputs.evaluation["positive"] or inputs.classes[-1]
    return Page(
        slug="method",
        title="Method",
        facts={
            "inputs": inputs,
            "metrics": text.METRICS.values(),
            # The class that wins the drawn vote, and one that loses it.
            "example": [winner, next((name for name in inputs.classes if name != winner), winner)],
            "voters": max((len(inputs.models(kind="fold", method=m)) for m in inputs.methods), default=0),
            "self_training": [(trace.method, text.method_name(trace.method)) for trace in traces(inputs)],
            "optimiser": text.OPTIMISERS[inputs.params.train.optimiser],
            "area_auroc": area["metrics"]["auroc"] if area else None,
            "weights": text.weights_name(inputs.params.model.weights),
        },
    )
