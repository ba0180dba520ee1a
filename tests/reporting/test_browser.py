"""The report as a person sees it, in Chromium, opened from the disk."""

import contextlib

import pytest

from job.commands import site
from job.reporting.pages.experiments import Experiment
from job.reporting.site import Frame, render_moment
from job.stages import report

from .rendered import make_tree, rename_classes, rename_people, render
from .test_site import HOSTILE, evaluation

pytestmark = pytest.mark.browser

# Cumulative Layout Shift as web.dev defines it: below 0.1 is good.
SHIFTS = """
window.moved = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.moved += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
PAGES = [
    "index", "data", "folds", "self-training", "ensemble", "errors", "patients", "decisions", "method", "provenance",
    "experiments", "moment", "whole",
]  # fmt: skip


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
    page.mouse.move(5, 5)  # figures stand still until a reader acts
    for plot in page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
    page.wait_for_function("() => [...document.querySelectorAll('.plot')].every((p) => p.dataset.state === 'drawn')")
    # Leaving a page while its pictures load would count as failed requests.
    page.evaluate("document.querySelectorAll('img').forEach((picture) => { picture.loading = 'eager'; })")
    page.wait_for_function("() => [...document.images].every((p) => p.complete && p.naturalWidth)")


SLOW = [(1440, "dark"), (768, "light"), (768, "dark"), (360, "light"), (360, "dark")]


@pytest.mark.parametrize(
    ("width", "scheme"), [(1440, "light"), *(pytest.param(*view, marks=pytest.mark.slow) for view in SLOW)]
)
def test_every_page_draws_quietly_and_fits_the_width(browser, complete, width, scheme):
    page, wrong = window(browser, complete, width, scheme)
    assert {path.stem for path in complete.glob("*.html")} == set(PAGES)
    for name in PAGES:
        show(page, complete, name)
        assert wrong == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert (
            page.locator(".plot").count()
            == page.locator(".plot .main-svg .ytick").locator("xpath=ancestor::figure").count()
        )
        assert page.evaluate("window.moved") < 0.1
    page.context.close()


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_nothing_moves_while_a_page_loads_because_its_fonts_are_there(browser, complete, width):
    page, wrong = window(browser, complete, width, "light")
    for name in PAGES:
        page.goto((complete / f"{name}.html").as_uri())
        page.wait_for_function("document.fonts.status === 'loaded'")
        loaded = "[...document.fonts].filter((font) => font.status === 'loaded').map((font) => font.family)"
        assert sorted(family.strip('"') for family in page.evaluate(loaded)) == ["Source Sans 3", "Source Serif 4"]
        assert page.evaluate("window.moved") < 0.001, name
    assert wrong == []
    page.context.close()


def test_experiments_and_machine_are_a_click_away_once_they_are_there(browser, complete, finished):
    page, wrong = window(browser, complete, 1440, "light")
    for start in ("index", "provenance"):
        page.goto((complete / f"{start}.html").as_uri())
        page.get_by_role("link", name="Experiments", exact=True).click()
        page.wait_for_url("**/experiments.html")
        assert page.locator("[aria-current=page]").inner_text() == "Experiments"
    page.goto((complete / "method.html").as_uri())
    page.get_by_role("link", name="Code and machine").first.click()
    page.wait_for_url("**/moment.html")
    page.go_back()
    assert page.url.endswith("/method.html")
    # A page that is left at once does not wait for its icon.
    assert [one for one in wrong if not one.endswith("icon.svg")] == []
    page.context.close()
    # As pulled into a clone: the same link stays on the section that says how the page comes about.
    page, _ = window(browser, finished / "site", 1440, "light")
    page.goto((finished / "site" / "index.html").as_uri())
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/added.js")):
        page.get_by_role("link", name="Experiments", exact=True).click()
    assert page.url.endswith("provenance.html#experiments")
    assert "job site" in page.locator("section[aria-labelledby=experiments]").inner_text()
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


def test_on_paper_figures_are_still_light_and_complete(browser, finished):
    page, _ = window(browser, finished / "site", 1440, "dark")
    page.goto((finished / "site" / "ensemble.html").as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator(".still svg").first.is_visible()
    assert not page.locator(".plot").first.is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.still text')).fill") == "rgb(0, 0, 0)"
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.context.close()


def test_on_paper_every_page_fits_keeps_figures_whole_and_repeats_the_heads_of_tables(browser, complete):
    """A4 less its margins is 180 mm wide: 680 CSS pixels."""
    page, _ = window(browser, complete, 680, "light")
    page.emulate_media(media="print")
    style = "(e, name) => getComputedStyle(e)[name]"
    for name in PAGES:
        page.goto((complete / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 680, name
        for still in page.locator(".still svg").all():
            assert still.bounding_box()["x"] + still.bounding_box()["width"] <= 680
        assert not any(part.is_visible() for part in page.locator("nav, .skip, .download, button, input, .plot").all()
                       if part.evaluate("e => !e.closest('thead')"))  # fmt: skip
        for figure in page.locator("figure").all():
            assert figure.evaluate(style, "breakInside") == "avoid"
        for head in page.locator("thead:visible").all():
            assert head.evaluate(style, "display") == "table-header-group"
        # What is synthetic says so on every sheet.
        assert page.locator("body").evaluate(style, "page") == "synthetic"
    page.context.close()


def test_without_javascript_figures_are_drawn_and_their_numbers_there(browser, finished):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    for name in ("index", "errors", "decisions"):
        page.goto((finished / "site" / f"{name}.html").as_uri())
        assert page.locator("figure").count()
        for figure in page.locator("figure").all():
            assert figure.locator(".still svg").is_visible()
            assert not figure.locator(".plot").is_visible()
        page.get_by_text("Numbers of this figure").first.click()
        assert page.locator("details table").first.is_visible()
    assert not page.locator(".explorer input, .explorer button").first.is_visible()
    assert "from a probability of 0.500 on" in page.locator(".explorer").first.inner_text()
    context.close()


def test_the_threshold_explorer_counts_what_the_evaluation_counted(browser, finished):
    page, wrong = window(browser, finished / "site", 1440, "light")
    show(page, finished / "site", "decisions")
    for position, entry in enumerate(evaluation(finished)["operating_points"]):
        explorer = page.locator(".explorer").nth(position)
        buttons = explorer.locator("button")
        points = [point for point in entry["points"] if point["threshold"] is not None]
        assert buttons.count() == len(points) >= 3
        for button, point in zip(buttons.all(), points, strict=True):
            button.press("Enter")
            for key in ("TP", "FN", "FP", "TN"):
                assert explorer.locator(f"[data-show={key}]").inner_text() == str(point["test"][key])
            shown = explorer.locator("[data-show=sensitivity]").inner_text()
            assert shown == f"{100 * point['test']['sensitivity']:.1f}\N{NARROW NO-BREAK SPACE}%"
        explorer.locator("input").focus()
        page.keyboard.press("End")
        assert explorer.locator("[data-show=TP]").inner_text() == "0"
        page.keyboard.press("Home")
        assert explorer.locator("[data-show=FN]").inner_text() == "0"
    assert wrong == []
    page.context.close()


def test_experiments_are_sorted_by_key_and_missing_values_stay_last(browser, tree):
    frame = Frame.read(tree / "site")
    runs = [
        Experiment(name, "abc", None, {}, [], {"efficientnet": {"mean": {"auroc": value}}} if value else {})
        for name, value in (("a", 0.5), ("b", None), ("c", 0.25), ("d", 0.125))
    ]
    for name, content in render_moment(frame, site.moment(frame.methods, frame.folds), runs).items():
        (tree / "site" / name).write_text(content, encoding="utf-8")
    page, wrong = window(browser, tree / "site", 1440, "light")
    page.goto((tree / "site" / "experiments.html").as_uri())
    heading = page.locator("thead button", has_text="AUROC")
    orders = []
    for _ in range(2):
        heading.press("Enter")
        orders.append(page.locator("tbody th").all_inner_texts())
    assert orders == [["d", "c", "a", "b"], ["a", "c", "d", "b"]]
    assert page.locator("th[aria-sort=descending]").count() == 1
    assert wrong == []
    page.context.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run whose classes, patients, subjects and files all bear hostile names, from its predictions on."""
    kinds = [name for name in HOSTILE.values() if name]
    names = {}

    def renamed(name, number):
        return f"{kinds[number % len(kinds)]} {number}"

    root = make_tree(
        tmp_path_factory.mktemp("hostile") / "tree", lambda root: names.update(rename_people(root, renamed))
    )
    rename_classes(root, {"HEM": HOSTILE["markup"], "ALL": HOSTILE["script"]})
    render(root)
    with contextlib.chdir(root):
        site.run()
    return root, names


def test_hostile_names_execute_nothing_in_pages_and_figures(browser, hostile):
    root, names = hostile
    page, wrong = window(browser, root / "site", 1440, "light")
    for name in PAGES:
        show(page, root / "site", name)
        assert wrong == []
        assert "executed" not in page.title()
        assert page.evaluate("document.documentElement.scrollWidth") == 1440
        assert page.locator("main img:not([src^='cells/']):not([src^='images/'])").count() == 0
    # They are there, as text: a patient of each kind among the subjects.
    show(page, root / "site", "patients")
    shown = page.locator("main").inner_text()
    tested = {row["subject"] for row in evaluation(root)["patients"][0]["subjects"]}
    assert tested <= set(names.values())
    assert all(" ".join(subject.split()) in " ".join(shown.split()) for subject in tested)
    page.context.close()


@pytest.mark.parametrize("names", [{"HEM": HOSTILE["arabic"], "ALL": HOSTILE["emoji"]}, {"HEM": "", "ALL": "{{ 1 }}"}])
def test_names_of_other_writing_or_none_fit_every_page(browser, tree, names):
    rename_classes(tree, names)
    report.run()
    page, wrong = window(browser, tree / "site", 1440, "light")
    for name in ("index", "data", "ensemble", "errors", "decisions", "method"):
        show(page, tree / "site", name)
        assert wrong == []
        assert page.evaluate("document.documentElement.scrollWidth") == 1440
    page.context.close()
