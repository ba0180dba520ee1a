"""The figures that were published for this method, as facts.

Source: Amanda Ho Shan Rui and Chen Tianying, ZB4171 project report, 21 November 2021, Tables 1 to 3.

They belong to another test set (C-NMC 2019, 1,836 ALL and 578 HEM images of 15 patients that are not named) and are
shown beside this job's figures for orientation, never as a comparison. Rates are per cent as printed, with two digits.
"""

SETTINGS = {
    "Data": "C-NMC 2019",
    "Images": "12,528 of 450 × 450 pixels, whole",
    "Methods": "EfficientNet and Noisy Student",
    "Folds": "1, 2, 3, 4 and 5 of 5, stratified by class, divided by image",
    "Network": "efficientnet-b0, ImageNet weights, dropout 0.5",
    "Training": "50 epochs per model, SGD, batch 15",
    "Learning rate": "0.001 × 0.1 every 7 epochs",
    "Batch norm": "running averages",
    "Self-training": "Noisy Student, one teacher and 3 students per fold",
}
"""What the published report ran, in the words of the overview's table."""
METRICS = ("accuracy", "sensitivity", "specificity", "ppv", "f1")
HEADING = "Published: C-NMC 2019"
TEST_IMAGES = {"ALL": 1836, "HEM": 578}
TABLE_1 = {
    ("train", "HEM"): {"patients": 37, "images": 3459},
    ("train", "ALL"): {"patients": 49, "images": 6655},
    ("test", "HEM"): {"patients": 4, "images": 578},
    ("test", "ALL"): {"patients": 11, "images": 1836},
}
TABLE_2 = {
    "efficientnet": {
        "accuracy": ([86.61, 86.54, 85.87, 86.50, 86.21], 86.34, 0.09),
        "sensitivity": ([89.49, 89.65, 88.94, 89.16, 89.16], 89.28, 0.08),
        "specificity": ([77.51, 76.64, 76.12, 78.03, 76.81], 77.02, 0.56),
        "ppv": ([92.67, 92.42, 92.21, 92.80, 92.43], 92.51, 0.05),
        "f1": ([91.05, 91.01, 90.55, 90.94, 90.76], 90.86, 0.04),
    },
    "noisy_student": {
        "accuracy": ([86.87, 86.41, 86.99, 86.00, 85.09], 86.30, 0.59),
        "sensitivity": ([89.43, 89.49, 89.81, 89.11, 87.80], 89.16, 0.61),
        "specificity": ([78.72, 76.64, 78.03, 76.12, 76.47], 77.20, 1.25),
        "ppv": ([93.03, 92.41, 92.85, 92.22, 92.22], 92.55, 0.14),
        "f1": ([91.20, 90.92, 91.31, 90.63, 89.96], 90.82, 0.29),
    },
}
"""Five folds, mean and variance. Some means and variances differ in the last digits from those of the printed folds."""
TABLE_3 = {
    ("efficientnet", "folds"): (86.34, 89.28, 77.02, 92.51, 90.86),
    ("noisy_student", "folds"): (86.30, 89.16, 77.20, 92.55, 90.82),
    ("efficientnet", "ensemble"): (89.11, 90.14, 85.81, 95.28, 92.64),
    ("noisy_student", "ensemble"): (90.93, 95.86, 75.26, 92.49, 94.14),
}
"""In the order of `METRICS`. The last row follows from TP 1,760, FN 76, FP 143 and TN 435 by the standard definitions;
the report prints the formulas of sensitivity, specificity and PPV with FP and FN exchanged."""

REFERENCE = {"source": "arXiv:2606.24944", "auroc": 0.913, "sensitivity": 0.87, "specificity": 0.80}
"""Figures of others on C-NMC's official split, in which no patient's number is on both sides."""


def mean_and_variance(method: str, metric: str) -> tuple[float | None, float | None]:
    """Mean (a share) and variance (of the share) over the folds of Table 2; None where nothing was published."""
    found = TABLE_2.get(method, {}).get(metric)
    return (found[1] / 100, found[2] / 10_000) if found else (None, None)


def rates(method: str, kind: str) -> list[float | None]:
    """A row of Table 3, `METRICS` as shares; None where nothing was published."""
    return [rate / 100 for rate in TABLE_3[method, kind]] if (method, kind) in TABLE_3 else [None] * len(METRICS)
