import contextlib
import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from job.commands import site

from .rendered import make_tree

CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A tree with a finished site; read it, never write to it."""
    return make_tree(tmp_path_factory.mktemp("report"), patients=40)


@pytest.fixture(scope="session")
def complete(finished, tmp_path_factory) -> Path:
    """The finished site with the pages that `python -m job site` adds; read it, never write to it."""
    root = tmp_path_factory.mktemp("complete") / "tree"
    shutil.copytree(finished, root, symlinks=True)
    with contextlib.chdir(root):
        site.run()
    return root / "site"


@pytest.fixture
def tree(finished, tmp_path, monkeypatch) -> Path:
    """A copy of `finished` to change, as the current folder."""
    root = tmp_path / "tree"
    shutil.copytree(finished, root, symlinks=True)
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope="session")
def browser():
    if not Path(CHROMIUM).exists():
        if os.environ.get("CI"):
            pytest.fail(f"{CHROMIUM} is missing: CI must look at the report in a browser")
        pytest.skip(f"{CHROMIUM} is missing: install Debian's package chromium to look at the report in a browser")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()
