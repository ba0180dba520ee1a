"""Where a command may write, asked before the work: an hour of prediction must not end at a folder in the way."""

from __future__ import annotations

from pathlib import Path

from job.errors import UserError


def check_file(path: Path) -> None:
    """Check that a file can be written at `--out`.

    Raises:
        UserError: there is a folder, or what would hold the file is none.
    """
    if path.is_dir():
        raise UserError(f"--out {path} is a folder: name the file that is to be written, such as {path / 'out'}")
    check_folder(path.parent)


def check_folder(path: Path) -> None:
    """Check that `path` is a folder or can become one.

    Raises:
        UserError: it, or one of those it lies in, is a file.
    """
    for one in (path, *path.parents):
        if one.exists() and not one.is_dir():
            raise UserError(f"--out: {one} is no folder: name another place")
