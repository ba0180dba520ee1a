import shutil
from pathlib import Path

import pytest

from job.contracts.dataset import Dataset
from tests.fixtures.run_tree import run_evidence, write_run_tree


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory) -> Path:
    """A tree with both methods, three folds and two students each, evaluated; read it, never write to it."""
    root = tmp_path_factory.mktemp("evaluated")
    write_run_tree(root, folds=(1, 2, 3), iterations=2, patients=40)
    run_evidence(root)
    return root


@pytest.fixture
def tree(evaluated, tmp_path, monkeypatch) -> Path:
    """A copy of `evaluated` to break, as the current folder."""
    root = tmp_path / "tree"
    shutil.copytree(evaluated, root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def dataset() -> Dataset:
    return Dataset("two", synthetic=True, classes=("HEM", "ALL"), positive="ALL")
