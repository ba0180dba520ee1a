"""What the methods are called in prose: in tables, on pages and in messages."""

DISPLAY_NAMES = {
    "across": "All methods",
    "efficientnet": "EfficientNet",
    "noisy_student": "Noisy Student",
    "meta_pseudo_labels": "Meta Pseudo Labels",
    "fixmatch": "FixMatch",
    "linear_probe": "Linear probe",
}
"""By the name in the parameter `methods`; `across` is the vote of the folds of all methods together."""


def method_name(method: str) -> str:
    """A method's name in prose; one that has none here, such as somebody else's model, is printed as it is."""
    return DISPLAY_NAMES.get(method, method)
