"""Writes docs/parameters.md from params.yaml: `python tests/parameters_document.py` brings it up to date."""

import re
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs/parameters.md"
HEAD = """# Parameters

Written by `python tests/parameters_document.py` from [params.yaml](../params.yaml); a test compares the two. The values
are the defaults. They are the published report's, except where the meaning starts with *demo*: there the value is
scaled down so that everything runs on two CPU cores in minutes; or with *own*: there it is better. Where the report's
value is known it stands behind it, and [data.md](data.md#c-nmc-2019) gives the command with all of them.

Change a value in `params.yaml`, or for one experiment with `dvc exp run -S section.key=value`. A wrong key, type or
value stops the job in its first second; the message names the key and what is allowed.
"""


def document(root: Path) -> str:
    """The text of docs/parameters.md for the params.yaml in `root`: a table for each section."""
    text = with_inline_lists((root / "params.yaml").read_text(encoding="utf-8"))
    parts, rows, section = [HEAD], 0, ""
    for line in text.splitlines():
        match = re.fullmatch(r"( *)(\w+):\s*([^#]*?)\s*(?:# (.*))?", line)
        if not match:
            continue
        indent, key, value, comment = match.groups()
        if not value:
            section = key
            parts.append(
                f"\n## {key}\n\n{comment[0].upper()}{comment[1:]}.\n\n| key | value | meaning |\n|---|---|---|\n"
            )
            continue
        if not rows:
            parts.append("\n## What runs\n\n| key | value | meaning |\n|---|---|---|\n")
        name = f"{section}.{key}" if indent else key
        parts.append(f"| `{name}` | `{value}` | {comment.replace('|', '/')} |\n")
        rows += 1
    assert rows == count(YAML(typ="safe").load(root / "params.yaml")), "a parameter has no row"
    return "".join(parts)


def with_inline_lists(text: str) -> str:
    """`[a, b]` in place of a line for each item, as `dvc exp run -S` and `dvc exp apply` leave lists."""
    return re.sub(
        r"^( *\w+:)( *#[^\n]*)?\n\s*((?: *- [^\n]*\n\s*?)+)",
        lambda match: f"{match[1]} [{', '.join(re.findall('- (.*)', match[3]))}]{match[2] or ''}\n",
        text,
        flags=re.MULTILINE,
    )


def count(values: dict) -> int:
    """Number of parameters."""
    return sum(len(value) if isinstance(value, dict) else 1 for value in values.values())


if __name__ == "__main__":
    DOCUMENT.write_text(document(ROOT), encoding="utf-8")
