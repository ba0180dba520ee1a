"""The report as a person sees it, in Chromium, opened from the disk."""

import pytest

from job.commands import site
from job.stages import report

from .rendered import rename_classes
from .test_site import HOSTILE

pytestmark = pytest.mark.browser

# Cumulative Layout Shift as web.dev defines it: below 0.1 is good.
SHIFTS = """
window.moved = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.moved += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
PAGES = ["index", "data", "folds", "self-training", "ensemble", "evidence", "method", "provenance", "moment"]


def window(browser, site, width, scheme):
    """An empty window, and a list that takes what goes wrong in it."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.add_init_script(SHIFTS)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    inside = f"{site.as_uri()}/"
    page.on(
        "request", lambda request: None if request.url.startswith(inside) else wrong.append(f"outside: {request.url}")
    )
    return page, wrong


def show(page, site, name):
    """Go to a page and scroll through all of it until its figures are drawn."""
    page.goto(f"{site.as_uri()}/{name}.html")
    for plot in page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
    page.wait_for_function("() => [...document.querySelectorAll('.plot')].every((p) => p.dataset.state === 'drawn')")


SLOW = [(1440, "dark"), (768, "light"), (768, "dark"), (360, "light"), (360, "dark")]


@pytest.mark.parametrize(
    ("width", "scheme"), [(1440, "light"), *(pytest.param(*view, marks=pytest.mark.slow) for view in SLOW)]
)
def test_every_page_draws_quietly_and_fits_the_width(browser, tree, width, scheme):
    site.run()
    page, wrong = window(browser, tree / "site", width, scheme)
    for name in PAGES:
        show(page, tree / "site", name)
        assert wrong == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert (
            page.locator(".plot").count()
            == page.locator(".plot .main-svg .xtick").locator("xpath=ancestor::figure").count()
        )
        assert page.evaluate("window.moved") < 0.1
    page.context.close()


def test_figures_take_the_colours_of_the_theme_and_follow_it(browser, finished):
    page, _ = window(browser, finished / "site", 1440, "light")
    show(page, finished / "site", "index")
    colour = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"(light) => {colour} !== light", arg=light)
    assert page.evaluate(colour) == page.evaluate("getComputedStyle(document.body).color")
    page.context.close()


def test_printed_figures_are_light_and_fit_the_paper(browser, finished):
    page, _ = window(browser, finished / "site", 1440, "dark")
    show(page, finished / "site", "ensemble")
    page.emulate_media(media="print", color_scheme="dark")
    page.wait_for_function("() => document.querySelector('.plot .main-svg').getBoundingClientRect().width === 620")
    assert page.evaluate("getComputedStyle(document.querySelector('.plot .xtick text')).fill") == "rgb(0, 0, 0)"
    page.emulate_media(media="screen", color_scheme="dark")
    page.wait_for_function("() => document.querySelector('.plot .main-svg').getBoundingClientRect().width > 1000")
    page.context.close()


def test_without_javascript_the_numbers_of_a_figure_are_there(browser, finished):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((finished / "site" / "index.html").as_uri())
    page.get_by_text("Numbers of this figure").click()
    assert page.locator("details table").is_visible()
    assert page.get_by_text("This figure is drawn by JavaScript").is_visible()
    context.close()


def test_hostile_names_execute_nothing_in_pages_and_figures(browser, tree):
    rename_classes(tree, {"HEM": HOSTILE["markup"], "ALL": HOSTILE["arabic"]})
    report.run()
    page, wrong = window(browser, tree / "site", 1440, "light")
    for name in ("index", "data"):
        show(page, tree / "site", name)
        assert wrong == []
        assert "executed" not in page.title()
        assert page.evaluate("document.documentElement.scrollWidth") == 1440
    page.context.close()
