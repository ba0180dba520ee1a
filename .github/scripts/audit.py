"""The bill of materials of requirements-dev.lock, and the known vulnerabilities of what it names.

`audit.py [OPTION of pip-audit …]`. pip-audit alone calls packages harmless that its service does not know, as where the
package index is a mirror, and leaves them out of its bill of materials. Here every package must have been asked about.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

LOCK, MATERIALS = Path("requirements-dev.lock"), Path("logs/sbom.json")


def main() -> None:
    """Write logs/sbom.json, which needs no network; then ask pip-audit and end with an error for what it finds."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    MATERIALS.parent.mkdir(exist_ok=True)
    MATERIALS.write_text(bill_of_materials(pins), encoding="utf-8")
    say(f"{MATERIALS}: {len(pins)} packages, CycloneDX")
    found = ask(sys.argv[1:])
    unknown = [package for package in found if "skip_reason" in package]
    if unknown:
        sys.exit(
            f"error: {len(unknown)} of {len(found)} packages were not audited: the service that was asked does not "
            f"know them, as a mirror of the package index does not ({unknown[0]['skip_reason']})"
        )
    harmful = [(package, one) for package in found for one in package["vulns"]]
    for package, one in harmful:
        remedy = f"mended in {', '.join(one['fix_versions'])}" if one["fix_versions"] else "no version mends it yet"
        say(f"{package['name']} {package['version']}: {one['id']}, {remedy}. {one['description'][:200]}")
    if harmful:
        sys.exit(f"error: {len(harmful)} known vulnerabilities; after a change of pyproject.toml: make lock")
    say(f"{len(found)} packages audited, no known vulnerability")


def say(text: str) -> None:
    """A line on standard output, in order with those of pip-audit."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def bill_of_materials(pins: list[tuple[str, str]]) -> str:
    """CycloneDX 1.6 as JSON, from names and versions."""
    urls = [PackageURL("pypi", name=name, version=version) for name, version in pins]
    components = [
        Component(type=ComponentType.LIBRARY, name=url.name, version=url.version, purl=url, bom_ref=str(url))
        for url in urls
    ]
    return JsonV1Dot6(Bom(components=components)).output_as_string(indent=2) + "\n"


def ask(options: list[str]) -> list[dict[str, Any]]:
    """What pip-audit says of every package that this platform would install.

    Raises:
        SystemExit: it could not ask.
    """
    command = ["pip-audit", "--progress-spinner", "off", "--disable-pip", "--require-hashes", "--format", "json"]
    done = subprocess.run([*command, "--requirement", str(LOCK), *options], capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except json.JSONDecodeError:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        sys.exit(f"error: the service that knows vulnerabilities did not answer: {said}")
    return packages


if __name__ == "__main__":
    main()
