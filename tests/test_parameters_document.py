import re

from tests import ROOT
from tests.parameters_document import DOCUMENT, document


def test_the_document_is_that_of_params_yaml():
    assert document(ROOT) == DOCUMENT.read_text(encoding="utf-8"), "run: python tests/parameters_document.py"


def test_every_parameter_and_section_has_a_comment_that_stands_alone():
    for line in (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert re.search(r" # \S", line), line
            assert not re.search(r" # (of|per|with|between|required|wanted) ", line), f"leans on the line above: {line}"


def test_the_document_is_the_same_after_dvc_has_written_lists_anew(tmp_path):
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
    assert document(tmp_path) == document(ROOT)
