"""Subjects: patients connected by images with identical pixels. The unit that is never in both training and test."""

import re

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def assign(index: pd.DataFrame) -> pd.Series:
    """Subject of every image of an index with the columns `image`, `patient` (empty when unknown) and `pixel_sha256`.

    An image without a patient is a person of its own until its pixels say otherwise. The subject's name joins the
    patients in it, as in `20+21`; a subject without any patient carries the name of its first image.
    """
    person = index["patient"].where(index["patient"] != "", index["image"])
    nodes, names = pd.factorize(person)
    pixels, _ = pd.factorize(index["pixel_sha256"])
    size = len(names) + int(pixels.max(initial=-1)) + 1
    # A bipartite graph of persons and pictures: two persons with the same picture fall into one component.
    edges = (np.ones(len(nodes), dtype=np.int8), (nodes, len(names) + pixels))
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


def copies(index: pd.DataFrame) -> pd.DataFrame:
    """Groups of images with identical pixels: `pixel_sha256`, `images`, `patients` and `labels` (sorted lists)."""
    groups = index[index.duplicated("pixel_sha256", keep=False)].groupby("pixel_sha256")
    columns = {
        "images": groups["image"].apply(sorted),
        "patients": groups["patient"].apply(lambda values: sorted(set(values) - {""}, key=natural)),
        "labels": groups["label"].apply(lambda values: sorted(set(values) - {""})),
    }
    return pd.DataFrame(columns).reset_index()
