import re

from tests import ROOT
from tests.readme import with_table

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_parameters_is_that_of_params_yaml():
    assert with_table(README, ROOT) == README, "run: python tests/readme.py"


def test_files_and_targets_it_names_exist():
    for name in re.findall(r"\]\((?!https?:|#)([^)]+)\)", README):
        assert (ROOT / name).exists(), name
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for target in re.findall(r"`?make ([a-z-]+)", README):
        assert target in targets, target
