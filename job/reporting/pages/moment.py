"""Code and machine: what depends on the moment the report was finished, not on its inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from job.reporting import text
from job.reporting.page import Page
from job.reporting.tables import Column, Table


@dataclass(frozen=True)
class Moment:
    """What the inputs cannot tell.

    `commit` is the Git commit or None outside a repository; `changed` whether tracked files differ from it; `versions`
    package versions by name; `outputs` are stage, path and MD5 digest from `dvc.lock`; `times` has one mapping per
    trained fold with `method`, `fold` and, where the log has them, `device`, `seconds` and `images_per_second`.
    """

    commit: str | None
    changed: bool
    python: str
    platform: str
    processor: str
    versions: dict[str, str] = field(default_factory=dict)
    outputs: list[tuple[str, str, str]] = field(default_factory=list)
    times: list[dict[str, Any]] = field(default_factory=list)


def page(moment: Moment) -> Page:
    """The page of a moment; without logs it shows no times."""
    columns = [Column("package", "Package"), Column("version", "Version")]
    tables = {"versions": Table("package-versions", "Packages.", columns, list(moment.versions.items()))}
    if moment.times:
        tables["times"] = _times(moment)
    if moment.outputs:
        columns = [Column("stage", "Stage", "name"), Column("path", "Output", "name"), Column("md5", "MD5")]
        tables["outputs"] = Table("outputs", "Outputs.", columns, moment.outputs)
    return Page(slug="moment", title="Code and machine", facts={"moment": moment}, tables=tables)


def _times(moment: Moment) -> Table:
    columns = [
        Column("method", "Method", "name"), Column("fold", "Fold"), Column("device", "Device", "name"),
        Column("seconds", "Seconds", "rate"), Column("images_per_second", "Images per second", "rate"),
    ]  # fmt: skip
    rows = [
        [text.method_name(entry["method"]), entry["fold"],
         *(entry.get(key) for key in ("device", "seconds", "images_per_second"))]
        for entry in moment.times
    ]  # fmt: skip
    return Table("training-times", "Training time of each fold.", columns, rows)
