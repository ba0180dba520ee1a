"""Evidence about many models: the published test set's number of images and subjects, 20 models."""

import time

from benchmarks.coverage import MEANS, simulate, sizes
from job.evaluation import intervals, metrics
from job.seeds import generator

MODELS = 20


def run() -> dict[str, float]:
    """Seconds for every figure of every model, with its interval and the difference to the first model."""
    draw = generator(2019, "benchmark", "evidence")
    blocks = simulate(sizes("4/11", draw), [MEANS] * MODELS, 1.0, draw)
    start = time.perf_counter()
    figures = []
    for block in blocks:
        metrics.score(block.cells.truth, block.predicted, block.probabilities, block.cells.dataset)
        figures.append(intervals.figures(block))
        for name, figure in figures[-1].items():
            intervals.interval(figure)
            intervals.difference(figure, figures[0][name])
    return {"evidence_seconds": time.perf_counter() - start}
