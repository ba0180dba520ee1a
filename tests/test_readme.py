import re

from tests import ROOT
from tests.readme import parameter_table, with_table

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_parameters_is_that_of_params_yaml():
    assert with_table(README, ROOT) == README, "run: python tests/readme.py"


def test_the_table_is_the_same_after_dvc_has_written_lists_anew(tmp_path):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    block = re.sub(
        r"^( *)(\w+): \[(.*?)\]( *#.*)$",
        lambda match: "\n".join(
            [f"{match[1]}{match[2]}:{match[4]}", "", *(f"{match[1]}- {one}" for one in match[3].split(", "))]
        ),
        text,
        flags=re.MULTILINE,
    )
    assert block.count("\n- ") == 7, "methods and folds"
    (tmp_path / "params.yaml").write_text(block, encoding="utf-8")
    assert parameter_table(tmp_path) == parameter_table(ROOT)


def test_files_and_targets_it_names_exist():
    for name in re.findall(r"\]\((?!https?:|#)([^)]+)\)", README):
        assert (ROOT / name).exists(), name
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for target in re.findall(r"`?make ([a-z-]+)", README):
        assert target in targets, target
