"""Take the README's pictures of the report: `python tests/reporting/screenshots.py [SITE [FOLDER]]`.

SITE is a finished site (default `site`), FOLDER takes the PNG files (default `docs`), each below 200 kB.
"""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
LIMIT = 200_000
# Picture, page, theme. Each shows the top of its page, where synthetic data is said to be synthetic.
SHOTS = [("report-overview", "index", "light"), ("report-performance", "performance", "dark")]


def main(site: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for picture, name, scheme in SHOTS:
            size = {"width": 1280, "height": 900}
            page = browser.new_page(viewport=size, color_scheme=scheme)
            page.goto(f"{site.resolve().as_uri()}/{name}.html")
            for plot in page.locator(".plot").all():
                plot.scroll_into_view_if_needed()
            drawn = "() => [...document.querySelectorAll('.plot')].every((p) => p.dataset.state === 'drawn')"
            page.wait_for_function(drawn)
            page.evaluate("scrollTo(0, 0)")
            _save(page.screenshot(), folder / f"{picture}.png")
        browser.close()


def _save(png: bytes, path: Path) -> None:
    # 128 colours hold a page of text and lines without visible loss at a third of the size.
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    assert path.stat().st_size < LIMIT, f"{path} is too large for a README"


if __name__ == "__main__":
    main(Path(*sys.argv[1:2] or ["site"]), Path(*sys.argv[2:3] or ["docs"]))
