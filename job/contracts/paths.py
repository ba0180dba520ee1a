"""Where what the stages share lies, relative to the root of the repository. Nothing else spells these paths."""

from pathlib import Path

CHECKED = Path("data/checked.json")
DEMO = Path("data/raw/demo")
PREPARED = Path("data/prepared")
INDEX = PREPARED / "index.csv"
PIXELS = PREPARED / "images.npy"
SUMMARY = PREPARED / "summary.json"
CELLS = PREPARED / "cells"
SPLIT = Path("data/split.csv")
SPLIT_FACTS = Path("data/split.json")
TRUTH = Path("data/truth.csv")
RESULTS = Path("results")
EVALUATION = RESULTS / "evaluation.json"
HEADLINES = RESULTS / "summary.json"
RESULT_PREDICTIONS = RESULTS / "predictions.csv"
DIFFERENCES = RESULTS / "differences.csv"
HISTORY = RESULTS / "history.csv"
EXPLANATIONS = RESULTS / "explanations"
SITE = Path("site")
LOGS = Path("logs")
STATE = Path(".state")
OUTPUTS = (PREPARED, Path("runs"), Path("predictions"), Path("ensembles"), RESULTS, SITE)
"""The folders that belong to the pipeline as a whole."""


def run(method: str, fold: int) -> Path:
    """Folder of one trained fold of one method: weights, `model.json`, history, iterations."""
    return Path("runs", method, f"fold-{fold}")


def log(method: str, fold: int) -> Path:
    """Lines of one fold's training; beside it, as `.json`, how long it took. Neither Git nor DVC tracks them."""
    return LOGS / method / f"fold-{fold}.log"


def predictions(method: str, fold: int) -> Path:
    """What one fold of one method predicts for images it did not train on."""
    return Path("predictions", method, f"fold-{fold}.csv")


def ensemble(method: str) -> Path:
    """Folder with the votes of a method's folds: `predictions.csv` and `ensemble.json`."""
    return Path("ensembles", method)
