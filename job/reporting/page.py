"""A page: a template and what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from job.reporting.figures import Figure
from job.reporting.tables import Table


@dataclass(frozen=True)
class Page:
    """One page of the site.

    `slug` names the page's file and its template (`slug.html` both) and `title` its entry in the navigation. The
    template sees `tables`, `figures` and `facts` under these names; `files` are written beside it, by path.
    """

    slug: str
    title: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
