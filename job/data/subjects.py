"""Subjects: patients connected by pictures of the same cell. The unit that is never in both training and test."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def cells(digests: pd.Series, pairs: Sequence[tuple[int, int]]) -> pd.Series:
    """Name of the cell that each image shows: the first of the pixel digests that copies and near copies connect.

    `pairs` holds positions in `digests` of near copies.
    """
    codes, names = pd.factorize(digests, sort=True)
    one, other = (codes[[pair[side] for pair in pairs]] for side in (0, 1))
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (one, other)), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    first = pd.Series(names).groupby(component).transform("first")
    return pd.Series(first.to_numpy()[codes], index=digests.index, name="cell")


def assign(index: pd.DataFrame) -> pd.Series:
    """Subject of every image of an index with the columns `image`, `patient` (empty when unknown) and `cell`.

    An image without a patient is a person of its own until its cell says otherwise. The subject's name joins the
    patients in it, as in `20+21`; a subject without any patient carries the name of its first image.
    """
    person = index["patient"].where(index["patient"] != "", index["image"])
    nodes, names = pd.factorize(person)
    cells, _ = pd.factorize(index["cell"])
    size = len(names) + int(cells.max(initial=-1)) + 1
    # A bipartite graph of persons and cells: two persons with a picture of the same cell fall into one component.
    edges = (np.ones(len(nodes), dtype=np.int8), (nodes, len(names) + cells))
    _, component = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    members = pd.Series(names).groupby(component[: len(names)]).unique()
    patients = set(index["patient"]) - {""}
    subjects = {
        label: "+".join(sorted(patients.intersection(group), key=natural)) or min(group)
        for label, group in members.items()
    }
    return pd.Series([subjects[component[node]] for node in nodes], index=index.index, name="subject")


def natural(text: str) -> tuple[list[tuple[int, int | str]], str]:
    """Sort key that puts H2 before H10. Different texts have different keys: 1 and 01 are two patients."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text) if part], text
