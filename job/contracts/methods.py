"""Names of the methods for people."""

METHOD_NAMES = {
    "efficientnet": "EfficientNet",
    "noisy_student": "Noisy Student",
    "meta_pseudo_labels": "Meta Pseudo Labels",
    "fixmatch": "FixMatch",
    "linear_probe": "Linear probe",
}
