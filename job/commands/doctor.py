"""`python -m job doctor`: is this machine ready for the job? Every line comes with what to do when it is wrong.

It runs in a bare Python, before 7 GiB of packages are installed; what needs the packages is then left out, and said so.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator

from job.commands import machine
from job.commands.machine import Finding
from job.errors import UserError


def run() -> str:
    """Print one line for each check, and return the closing sentence.

    Raises:
        UserError: something is wrong that would stop the job.
    """
    wrong = []
    for name, finding in _findings():
        remedy = f"\n{'':19}{finding.remedy}" if finding.remedy else ""
        print(f"{finding.state:<6} {name:<11} {finding.text}{remedy}", flush=True)
        if finding.state == "wrong":
            wrong.append(name)
    if wrong:
        raise UserError(f"not ready: {', '.join(wrong)}; what to do stands above")
    return "ready" if machine.installed() else "ready to install: make report"


def _findings() -> Iterator[tuple[str, Finding]]:
    python = machine.python()
    yield "Python", python
    if python.state == "wrong":
        return
    yield "repository", machine.repository()
    yield "memory", machine.memory(machine.available_memory())
    yield "disk", machine.disk(shutil.disk_usage(".").free, installed=machine.installed())
    yield "time", Finding("ok", "make report: about 5 minutes on two cores without a GPU, after the installation")
    yield "packages", machine.packages()
    if machine.installed():
        yield from importlib.import_module("job.commands.setup").findings()
    else:
        driver = machine.gpus()
        yield "device", Finding("ok", f"NVIDIA driver {driver[0]}" if driver else "the CPU; no NVIDIA driver here")
