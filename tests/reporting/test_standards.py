"""The pages against the standards, by the reference tools from npm: axe-core (MPL-2.0) and the Nu HTML checker (MIT).

They are fetched when the long checks run, because nothing else needs them and they are larger than this repository.
"""

import json
import shutil
import subprocess
import tarfile

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.browser]
AXE, NU = "axe-core@4.14.1", "vnu-jar@26.9.27"


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """A function that fetches a package of npm and gives its folder; without npm or a network the test is skipped."""

    def fetch(name):
        if not shutil.which("npm"):
            pytest.skip("npm is missing: install nodejs and npm for the checks of accessibility and HTML")
        folder = tmp_path_factory.mktemp("npm")
        done = subprocess.run(
            ["npm", "pack", "--json", name], cwd=folder, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            pytest.skip(f"{name} cannot be fetched from npm: {done.stderr.strip().splitlines()[-1]}")
        with tarfile.open(next(folder.glob("*.tgz"))) as archive:
            archive.extractall(folder, filter="data")
        return folder / "package"

    return fetch


@pytest.fixture
def pages(complete):
    """Every page of a complete site."""
    return sorted(complete.glob("*.html"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser, pages, package, scheme):
    axe = (package(AXE) / "axe.min.js").read_text(encoding="utf-8")
    # The pages' own policy would refuse the checker.
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme, bypass_csp=True)
    found = []
    for path in pages:
        page = context.new_page()
        page.goto(path.as_uri())
        for plot in page.locator(".plot").all():
            plot.scroll_into_view_if_needed()
        page.wait_for_function(
            "() => [...document.querySelectorAll('.plot')].every((p) => p.dataset.state === 'drawn')"
        )
        page.evaluate(axe)
        violations = page.evaluate("axe.run(document)")["violations"]
        found += [(path.name, one["id"], one["nodes"][0]["html"]) for one in violations]
        page.close()
    context.close()
    assert found == []


def test_html_is_valid(pages, package):
    if not shutil.which("java"):
        pytest.skip("java is missing: install a JRE for the check of HTML")
    checker = package(NU) / "build" / "dist" / "vnu.jar"
    command = ["java", "-jar", str(checker), "--errors-only", "--format", "json", *map(str, pages)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    messages = json.loads(done.stderr or done.stdout)["messages"]
    assert [(one["url"].rsplit("/", 1)[1], one["message"], one.get("extract")) for one in messages] == []
