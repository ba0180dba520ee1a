"""Label files that people wrote: CSV with what spreadsheets do to it."""

import csv
import io
from collections.abc import Collection
from pathlib import Path

from job.errors import UserError


def read_rows(path: Path, columns: Collection[str]) -> tuple[list[tuple[int, dict[str, str]]], list[tuple[int, str]]]:
    """Rows of a CSV file with the number of the line each ends on, and lines that are no rows, with the reason.

    A byte order mark and the line ends of Windows are taken as they come; values are stripped of spaces around them.

    Raises:
        UserError: the file is not UTF-8 or not CSV, or a column of `columns` is missing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: save it as CSV in UTF-8") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    rows: list[tuple[int, dict[str, str]]] = []
    refused: list[tuple[int, str]] = []
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        if missing := sorted(set(columns) - set(header)):
            hint = "; its columns seem to be separated by semicolons or tabs" if "," not in text.split("\n")[0] else ""
            raise UserError(
                f"{path}: column {', '.join(missing)} is missing{hint}: expected {','.join(columns)} in the first line"
            )
        if len(set(header)) != len(header):
            raise UserError(f"{path}: a column occurs twice in the first line: {','.join(header)}")
        reader.fieldnames = header
        for row in reader:
            if None in row or None in row.values():
                refused.append((reader.line_num, f"expected {len(header)} values, one per column"))
            else:
                rows.append((reader.line_num, {name: value.strip() for name, value in row.items()}))
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}") from None
    return rows, refused
