"""Method and limits: what was done, in words; how the metrics are defined; what the figures cannot say."""

from job.reporting import text
from job.reporting.figures import Page
from job.reporting.inputs import ReportInputs
from job.reporting.tables import Table, columns, interval_columns
from job.reporting.trace import traces


def page(inputs: ReportInputs) -> Page:
    """Never left out."""
    area, winner = inputs.area(), inputs.evaluation["positive"] or inputs.classes[-1]
    return Page(
        slug="method",
        title="Method",
        tables=_image_level(inputs),
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


def _image_level(inputs: ReportInputs) -> dict[str, Table]:
    """Intervals over patients beside those over cells, which are too narrow; nothing where there are no patients."""
    entry = inputs.evaluation["image_level"]
    if not entry:
        return {}
    heads = columns("name", metric="Metric")
    for part, group in (("subjects", "Over patients"), ("images", "As if cells were independent: wrong")):
        heads += interval_columns("ratio", group, part)
    rows = [{"metric": text.METRICS[metric].label, **parts} for metric, parts in entry["metrics"].items()]
    caption = f"{text.model_name(entry['model'])}: 95 % intervals over patients and over cells."
    return {"image_level": Table.of("image-level", caption, heads, rows)}
