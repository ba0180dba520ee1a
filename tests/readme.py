"""The README's table of parameters, written from params.yaml: `python tests/readme.py` brings it up to date."""

import re
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
START, END = "<!-- parameters: written by tests/readme.py from params.yaml -->", "<!-- end of parameters -->"


def parameter_table(root: Path) -> str:
    """A row per parameter: key, value in the file, and the comment beside it."""
    rows = ["| key | value | meaning |", "|---|---|---|"]
    section = ""
    for line in with_inline_lists((root / "params.yaml").read_text(encoding="utf-8")).splitlines():
        match = re.fullmatch(r"( *)(\w+):\s*([^#]*?)\s*(?:# (.*))?", line)
        if not match:
            continue
        indent, key, value, comment = match.groups()
        if value:
            name = f"{section}.{key}" if indent else key
            rows.append(f"| `{name}` | `{value}` | {(comment or '').replace('|', '/')} |")
        else:
            section = key
    assert len(rows) - 2 == count(YAML(typ="safe").load(root / "params.yaml"))
    return "\n".join(rows)


def with_inline_lists(text: str) -> str:
    """`[a, b]` in the place of a line for each, as `dvc exp run -S` and `dvc exp apply` leave lists."""
    return re.sub(
        r"^( *\w+:)( *#[^\n]*)?\n\s*((?: *- [^\n]*\n\s*?)+)",
        lambda match: f"{match[1]} [{', '.join(re.findall('- (.*)', match[3]))}]{match[2] or ''}\n",
        text,
        flags=re.MULTILINE,
    )


def count(values: dict) -> int:
    return sum(len(value) if isinstance(value, dict) else 1 for value in values.values())


def with_table(text: str, root: Path) -> str:
    """The README with its table as it should be."""
    before, rest = text.split(START)
    return f"{before}{START}\n{parameter_table(root)}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), ROOT), encoding="utf-8")
