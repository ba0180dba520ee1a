"""Self-training: what the pseudo-labels were worth, and the metrics from teacher to last student, method by method."""

from __future__ import annotations

from job.params import Params
from job.reporting import text, trace_figures, trace_tables
from job.reporting.inputs import ReportInputs
from job.reporting.page import Page
from job.reporting.trace import explanation, in_folds, traces

_UNLABELLED = {
    "masked_half": "the rest, whose labels are masked",
    "pool": "images that never had a label",
    "both": "the rest, whose labels are masked, and images that never had one",
}


def page(inputs: ReportInputs) -> Page | None:
    """Left out when no method trained itself."""
    found = traces(inputs)
    if not found:
        return None
    tables, figures, sections = {}, {}, []
    if len(found) > 1:
        tables["methods"] = trace_tables.side_by_side(found)
        if gains := trace_figures.gains(found):
            figures["gains"] = gains
    for trace in found:
        slug = text.slug(trace.method)
        tables |= {
            f"{slug}-models": trace_tables.models_table(trace), f"{slug}-folds": trace_tables.folds_table(trace),
            f"{slug}-labels": trace_tables.labels_table(trace),
        }  # fmt: skip
        own = {f"{slug}-{name}": figure for name, figure in trace_figures.of_method(trace).items()}
        figures |= own
        sections.append({
            "slug": slug, "name": text.method_name(trace.method), "how": how(trace.method, inputs.params),
            "explanation": explanation(trace), "in_folds": in_folds(trace), "scored": f"{slug}-trace" in own,
        })  # fmt: skip
    share = text.percent(inputs.params.split.labelled_share)
    return Page(slug="self-training", title="Self-training", tables=tables, figures=figures, facts={
        "sections": sections, "labelled_share": share, "unlabelled": _UNLABELLED[inputs.params.split.unlabelled],
    })  # fmt: skip


def how(method: str, params: Params) -> str:
    """What a method does with the images that have no label, at the values of its parameters."""
    makers = {"noisy_student": _noisy_student, "meta_pseudo_labels": _meta_pseudo_labels}
    return makers[method](params) if method in makers else "A teacher labels them, and students learn from its labels."


def _noisy_student(params: Params) -> str:
    own = params.noisy_student
    beside = " beside the labelled images" if own.train_on == "labelled+pseudo" else " and nothing else"
    sentences = [
        (
            "The teacher learns from the labelled images and labels the others. A fresh student learns from those "
            f"{own.labels} pseudo-labels{beside}, and is the next teacher, {text.counted(own.iterations, 'time')} over."
        )
    ]
    if own.confidence > 0:
        sentences.append(
            f"Only labels of which the teacher, calibrated on validation images, is at least "
            f"{text.percent(own.confidence)} sure are used."
        )
    if own.balance:
        sentences.append("Scarce classes are repeated and common ones cut, until all have as many labels.")
    noise = [] if own.augment == "none" else [f"augmentation “{own.augment}”"]
    noise += [] if own.dropout == 0 else [f"dropout {own.dropout:g}"]
    noise += [] if own.stochastic_depth == 0 else [f"stochastic depth {own.stochastic_depth:g}"]
    sentences.append(f"The student’s noise: {text.listed(noise) or 'none'}.")
    if own.backbone not in {"same", params.model.backbone}:
        sentences.append(f"Students are {own.backbone}, the teacher {params.model.backbone}.")
    if own.finetune_epochs:
        sentences.append(f"Each student ends with {text.counted(own.finetune_epochs, 'epoch')} on labelled images.")
    return " ".join(sentences)


def _meta_pseudo_labels(params: Params) -> str:
    own = params.meta_pseudo_labels
    end = (
        f", and ends with {text.counted(own.finetune_epochs, 'epoch')} on labelled images"
        if own.finetune_epochs
        else ""
    )
    return (
        "Teacher and student learn side by side. In every step the teacher draws labels for noisy views of the images "
        f"without labels (augmentation “{own.augment}”), and the student takes a step on them; how its loss on "
        "labelled images changes tells the teacher whether those labels were good. Besides, the teacher learns from "
        f"the labelled images. The student sees pseudo-labels alone{end}. The labels change with every step: those "
        "below are the teacher’s last word, and no student was given exactly these."
    )
