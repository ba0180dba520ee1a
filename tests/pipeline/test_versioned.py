"""The documented way from a download to a second machine; synthetic cells are the download, a folder is the remote."""

import re
import shutil

import pytest

from tests import ROOT
from tests.pipeline import repository

pytestmark = pytest.mark.slow
DOWNLOADED = "data/raw/C-NMC_Leukemia"


@pytest.fixture(scope="module")
def commands():
    """The blocks of that section, those of one machine first."""
    section = (ROOT / "docs/experiments.md").read_text().split("## Versioned data")[1].split("\n## ")[0]
    return re.findall(r"^```sh data\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)


def test_from_a_download_to_a_second_machine(commands, tmp_path):
    folder = repository.create(tmp_path / "one")
    repository.run(folder, "python", "-m", "job", "stage", "demo")
    (folder / "data/raw/demo").rename(tmp_path / "C-NMC_Leukemia")
    shutil.make_archive(str(folder / "archive"), "zip", tmp_path, "C-NMC_Leukemia")
    (folder / ".git/info/exclude").write_text("archive.zip\n")
    first = commands[0].replace("ssh://user@server/srv/dvc", str(tmp_path / "remote"))
    if shutil.which("unzip") is None:
        first = first.replace("unzip archive.zip -d", "python -m zipfile -e archive.zip")
    repository.run(folder, "bash", "-euo", "pipefail", "-c", first)
    tracked = repository.run(folder, "git", "ls-files").stdout.splitlines()
    assert f"{DOWNLOADED}.dvc" in tracked
    assert not [name for name in tracked if name.startswith(f"{DOWNLOADED}/")], "no image in Git"

    second = commands[1].replace("REPOSITORY leukaemia-job && cd leukaemia-job", f"{folder} two && cd two")
    second = second.replace("make install && source .venv/bin/activate\n", "")  # these packages are installed
    said = repository.run(tmp_path, "bash", "-euo", "pipefail", "-c", second).stdout
    assert repository.stages_run(said) == []
    assert "up to date" in said
    clone = tmp_path / "two"
    for part in (DOWNLOADED, "data/prepared", "runs", "ensembles", "results", "site"):
        assert repository.digests(clone, part) == repository.digests(folder, part) != {}, part
