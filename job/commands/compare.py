"""Command `compare`: what two revisions or experiments differ in, and whether their figures do."""

import pandas as pd

from job.commands import revisions, site
from job.reporting import text
from job.reporting.pages.appendix import comparison_tables
from job.reporting.tables import Table


def run(first: str, second: str, *, site_too: bool) -> str:
    """The comparison as text; with `site_too` it also takes the place of the last two in site/moment.html."""
    found = revisions.compare((first, second), (first, second))
    tables = comparison_tables(found)
    parts = [f"{table.caption}\n{_plain(table)}" for table in tables.values()]
    parts.append(found.verdict)
    if site_too:
        parts.append(site.run(found))
    return "\n\n".join(parts)


def _plain(table: Table) -> str:
    heads = [f"{column.group} {column.label}".strip().removesuffix(" Value") for column in table.columns]
    rows = [[text.cell(v, c.kind) for v, c in zip(row, table.columns, strict=True)] for row in table.rows]
    return pd.DataFrame(rows, columns=heads).to_string(index=False) if rows else "none"
