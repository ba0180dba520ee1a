"""The figures that were published for this method, as facts.

Source: Amanda Ho Shan Rui and Chen Tianying, ZB4171 project report, 21 November 2021, Tables 1 to 3.

They belong to another test set (C-NMC 2019, 1,836 ALL and 578 HEM images of 15 patients that are not named) and are
shown beside this job's figures for orientation, never as a comparison. Rates are per cent as printed, with two digits.
"""

from typing import Any

METRICS = ("accuracy", "sensitivity", "specificity", "ppv", "f1")

TEST_IMAGES = {"ALL": 1836, "HEM": 578}

TABLE_1 = [
    {"role": "train", "label": "HEM", "patients": 37, "images": 3459},
    {"role": "train", "label": "ALL", "patients": 49, "images": 6655},
    {"role": "test", "label": "HEM", "patients": 4, "images": 578},
    {"role": "test", "label": "ALL", "patients": 11, "images": 1836},
]

# Per method and metric: five folds, mean, variance. Means and variances are as printed; some differ in the last digits
# from those of the printed folds.
_TABLE_2 = {
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
TABLE_2 = {
    method: {
        metric: {"folds": folds, "mean": mean, "variance": variance} for metric, (folds, mean, variance) in rows.items()
    }
    for method, rows in _TABLE_2.items()
}

_TABLE_3 = [
    ("EfficientNet models", "efficientnet", "folds", (86.34, 89.28, 77.02, 92.51, 90.86)),
    ("Noisy Student models", "noisy_student", "folds", (86.30, 89.16, 77.20, 92.55, 90.82)),
    ("Ensemble EfficientNet model", "efficientnet", "ensemble", (89.11, 90.14, 85.81, 95.28, 92.64)),
    ("Ensemble Noisy Student model", "noisy_student", "ensemble", (90.93, 95.86, 75.26, 92.49, 94.14)),
]
TABLE_3 = [
    {"name": name, "method": method, "kind": kind, "metrics": dict(zip(METRICS, values, strict=True))}
    for name, method, kind, values in _TABLE_3
]

# Images of the test set by the Noisy Student ensemble; ALL is positive. They reproduce the last row of Table 3 by the
# standard definitions; the report prints the formulas of sensitivity, specificity and PPV with FP and FN exchanged.
NOISY_STUDENT_ENSEMBLE = {"TP": 1760, "FN": 76, "FP": 143, "TN": 435}


def as_json() -> dict[str, Any]:
    """The published figures in the form that results/evaluation.json holds."""
    return {"test_images": TEST_IMAGES, "table1": TABLE_1, "table2": TABLE_2, "table3": TABLE_3}
