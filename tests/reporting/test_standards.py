"""The pages against the standards, by the reference tools from npm.

axe-core (MPL-2.0), the Nu HTML checker (MIT) and Lighthouse (Apache-2.0) are fetched when the long checks run, because
nothing else needs them and they are larger than this repository.
"""

import functools
import gzip
import json
import os
import shutil
import subprocess
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from job.commands import score

from .conftest import CHROMIUM
from .test_browser import show

pytestmark = [pytest.mark.slow, pytest.mark.browser]
AXE, NU = "axe-core@4.14.1", "vnu-jar@26.9.27"
LIGHTHOUSE = "lighthouse@12.8.2"  # 13 needs Node.js 22.19
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-renderer-backgrounding --disable-backgrounding-occluded-windows"
)


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
        show(page, path.parent, path.stem)
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


@pytest.fixture(scope="module")
def lighthouse(tmp_path_factory):
    """The command of Lighthouse; without npm, a network or a Node.js that is new enough the test is skipped."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("npm is missing: install nodejs and npm for Lighthouse")
    folder = tmp_path_factory.mktemp("lighthouse")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--engine-strict", LIGHTHOUSE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        pytest.skip(f"{LIGHTHOUSE} cannot be installed from npm: {done.stderr.strip().splitlines()[-1]}")
    return ["node", str(folder / "node_modules" / "lighthouse" / "cli" / "index.js")]


@pytest.fixture
def served(complete, tmp_path):
    """The address, on this machine, of a complete site (report/) and of what `score --site` writes (scores/)."""
    found = pd.read_csv(complete.parent / "results" / "predictions.csv", dtype=str, keep_default_na=False)
    found[(found["model"] == "efficientnet/mean")].to_csv(tmp_path / "mine.csv", index=False)
    score.run(tmp_path / "mine.csv", tmp_path / "scored", site_too=True, synthetic=True)
    for name, site in (("report", complete), ("scores", tmp_path / "scored" / "site")):
        (tmp_path / name).symlink_to(site)
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files compressed, as GitHub Pages does, and says nothing of it."""

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if path.suffix not in {".html", ".css", ".js", ".svg"} or not path.is_file():
            super().do_GET()
            return
        content = gzip.compress(path.read_bytes())
        self.send_response(200)
        for name, value in (("Type", self.guess_type(path)), ("Encoding", "gzip"), ("Length", str(len(content)))):
            self.send_header(f"Content-{name}", value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize(
    "name", [f"report/{n}" for n in ("index", "performance", "errors", "whole")] + ["scores/index"]
)
def test_lighthouse_finds_nothing_to_mend(lighthouse, served, tmp_path, capsys, name):
    """A phone, as Lighthouse imagines one. Performance is a timing: it is printed and not asserted."""
    report = tmp_path / "lighthouse.json"
    command = [*lighthouse, f"{served}/{name}.html", "--quiet", "--output=json", f"--output-path={report}",
               "--only-categories=performance,accessibility,best-practices", "--no-enable-error-reporting",
               "--disable-full-page-screenshot", "--max-wait-for-load=120000", f"--chrome-flags={FLAGS}"]  # fmt: skip
    environment = {**os.environ, "CHROME_PATH": CHROMIUM}
    for _ in range(3):  # on a loaded machine the browser may miss a deadline of Lighthouse's own
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text(encoding="utf-8"))
    assert "runtimeError" not in found
    scores = {category: round(100 * entry["score"]) for category, entry in found["categories"].items()}
    with capsys.disabled():
        print(f"\nLighthouse, {name}.html: {scores}")  # noqa: T201  the one place where performance is told
    weighted = [
        (audit["id"], found["audits"][audit["id"]]["title"])
        for category in ("accessibility", "best-practices")
        for audit in found["categories"][category]["auditRefs"]
        if audit["weight"] and (found["audits"][audit["id"]]["score"] or 0) < 1
        and found["audits"][audit["id"]]["scoreDisplayMode"] != "notApplicable"
    ]  # fmt: skip
    assert scores["accessibility"] >= 95, weighted
    assert scores["best-practices"] >= 95, weighted
