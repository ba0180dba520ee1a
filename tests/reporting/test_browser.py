"""The report as a person sees it, in Chromium, opened from the disk."""

import contextlib

import pytest

from job.commands import site
from job.stages import report

from .rendered import make_tree, read_inputs, rename_classes, rename_people, render
from .test_site import HOSTILE, evaluation

pytestmark = pytest.mark.browser

DRAWN = "() => [...document.querySelectorAll('.plot')].every((plot) => plot.dataset.state === 'drawn')"
# Where everything stands that a reader could see move.
PLACES = "[...document.querySelectorAll('h1, h2, h3, p, table, figure, .plot, summary')].map((e) => e.offsetTop)"


PRINTED = """() => {
  const all = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.checkVisibility());
  const styles = (selector, name) => all(selector).map((e) => getComputedStyle(e)[name]);
  const hidden = "nav, .skip, .download, button:not(.views), input, .modebar, summary";
  return {
    width: document.documentElement.scrollWidth, shown: all(hidden).map((e) => e.outerHTML.slice(0, 80)),
    ticks: styles(".plot .xtick text", "fill"), figures: styles("figure", "breakInside"),
    cut: all(".plot").filter((plot) => plot.querySelector(".main-svg").clientWidth > plot.clientWidth).length,
    heads: styles("thead", "display"), sheet: getComputedStyle(document.body).page,
  };
}"""


MARK = """(slug) => {
  const { x, y } = document.querySelector("#figure-roc .plot").data.find((trace) => trace.meta === `auroc-${slug}`);
  return [x[0], y[0]];
}"""


def names(site):
    """The pages of a site, the whole report last."""
    return sorted((path.stem for path in site.glob("*.html")), key=lambda name: (name == "whole", name))


def window(browser, site, width, scheme):
    """An empty window, and a list that takes what goes wrong in it."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    # A figure on its way to an image file has an address inside the page.
    inside = (f"{site.as_uri()}/", "blob:")
    page.on(
        "request", lambda request: None if request.url.startswith(inside) else wrong.append(f"outside: {request.url}")
    )
    return page, wrong


def show(page, site, name):
    """Go to a page and scroll through all of it until its figures are drawn."""
    page.goto(f"{site.as_uri()}/{name}.html")
    for plot in page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
    page.wait_for_function(DRAWN)
    # Leaving a page while its pictures load would count as failed requests.
    page.evaluate("document.querySelectorAll('img').forEach((picture) => { picture.loading = 'eager'; })")
    page.wait_for_function("() => [...document.images].every((p) => p.complete && p.naturalWidth)")


QUICK = [(1440, "light"), (360, "dark")]
SLOW = [(1440, "dark"), (768, "light"), (768, "dark"), (360, "light")]


@pytest.mark.parametrize(("width", "scheme"), [*QUICK, *(pytest.param(*view, marks=pytest.mark.slow) for view in SLOW)])
def test_every_page_draws_quietly_and_fits_the_width(browser, complete, width, scheme):
    page, wrong = window(browser, complete, width, scheme)
    for name in names(complete):
        show(page, complete, name)
        assert wrong == [], name
        assert page.evaluate("document.documentElement.scrollWidth") == width, name
        figures = page.locator(".plot").count()
        assert figures == page.locator(".plot .main-svg .ytick").locator("xpath=ancestor::figure").count()
    page.context.close()


@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_moves_because_fonts_are_there_and_heights_reserved(browser, complete, width):
    """Held to where things stand, and not to shifts while a page loads: these depend on the load of the machine."""
    page, wrong = window(browser, complete, width, "light")
    still = browser.new_context(viewport={"width": width, "height": 900})
    still.add_init_script("IntersectionObserver.prototype.observe = () => {}")  # no figure comes into view
    undrawn = still.new_page()
    loaded = "[...document.fonts].filter((font) => font.status === 'loaded').map((font) => font.family)"
    for name in names(complete):
        undrawn.goto((complete / f"{name}.html").as_uri())
        assert sorted(family.strip('"') for family in undrawn.evaluate(loaded)) == ["Source Sans 3", "Source Serif 4"]
        show(page, complete, name)
        assert page.evaluate(PLACES) == undrawn.evaluate(PLACES), name
        assert undrawn.locator(".main-svg").count() == 0
    assert wrong == []
    page.context.close()
    still.close()


def test_experiments_and_machine_are_a_click_away_once_they_are_there(browser, complete, finished):
    page, wrong = window(browser, complete, 1440, "light")
    page.goto((complete / "index.html").as_uri())
    page.get_by_role("link", name="Experiments, code and machine").click()
    page.wait_for_url("**/moment.html")
    page.go_back()
    assert page.url.endswith("/index.html")
    # A page that is left at once does not wait for its icon or its figures.
    assert [one for one in wrong if not one.endswith(("icon.svg", "plotly-basic.min.js"))] == []
    page.context.close()
    # As pulled into a clone: the same link stays on the section that says how the page comes about.
    page, _ = window(browser, finished / "site", 1440, "light")
    page.goto((finished / "site" / "index.html").as_uri())
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/added.js")):
        page.get_by_role("link", name="Experiments, code and machine").click()
    assert page.url.endswith("appendix.html#experiments")
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


def test_a_figure_can_be_zoomed_filtered_and_saved(browser, finished):
    page, wrong = window(browser, finished / "site", 1440, "light")
    show(page, finished / "site", "performance")
    plot = page.locator("#figure-roc .plot")
    ticks = "(plot) => [...plot.querySelectorAll('.xtick text')].map((tick) => tick.textContent).join()"
    plot.scroll_into_view_if_needed()
    box, before = plot.bounding_box(), plot.evaluate(ticks)
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 300, steps=3)
    page.mouse.up()
    page.wait_for_function(f"([plot, before]) => ({ticks})(plot) !== before", arg=[plot.element_handle(), before])
    shown = plot.locator(".scatterlayer .trace").count()
    plot.locator(".legendtoggle").first.click()
    page.wait_for_function(
        "([plot, shown]) => plot.querySelectorAll('.scatterlayer .trace').length < shown",
        arg=[plot.element_handle(), shown],
    )
    plot.hover()
    # No button but these: some of Plotly's would send a figure to a server.
    assert plot.locator(".modebar-btn").count() == 4
    with page.expect_download() as download:
        plot.locator("[data-title^='Download plot']").click()
    assert download.value.suggested_filename.endswith(".png")
    assert wrong == []
    page.context.close()


def test_on_paper_every_page_fits_keeps_figures_whole_and_repeats_the_heads_of_tables(browser, complete):
    """A4 less its margins is 180 mm wide: 680 CSS pixels. Figures are drawn before they come into view."""
    page, _ = window(browser, complete, 680, "dark")
    for name in names(complete):
        page.emulate_media(media="screen", color_scheme="dark")
        page.goto((complete / f"{name}.html").as_uri())
        page.emulate_media(media="print", color_scheme="dark")
        page.wait_for_function(f"() => ({DRAWN})() && ({PRINTED})().ticks.every((fill) => fill === 'rgb(0, 0, 0)')")
        found = page.evaluate(PRINTED)
        assert found["width"] <= 680, name
        assert (found["shown"], found["cut"]) == ([], 0)
        assert set(found["figures"]) <= {"avoid"}
        assert set(found["heads"]) <= {"table-header-group"}
        # What is synthetic says so on every sheet.
        assert found["sheet"] == "synthetic"
    page.context.close()


def test_a_pdf_made_as_soon_as_a_page_is_there_holds_its_drawn_figures(browser, finished):
    page, wrong = window(browser, finished / "site", 1440, "dark")
    ink = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    page.add_init_script("IntersectionObserver.prototype.observe = () => {}")  # no figure comes into view
    page.add_init_script(f"addEventListener('afterprint', () => {{ window.printed = [({DRAWN})(), {ink}]; }})")
    for name in ("index", "performance"):
        page.goto((finished / "site" / f"{name}.html").as_uri())
        assert page.pdf(format="A4").startswith(b"%PDF")
        assert page.evaluate("window.printed") == [True, "rgb(0, 0, 0)"]
    assert wrong == []
    page.context.close()


def test_without_javascript_the_tables_stand_in_the_figures_places(browser, finished):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    for name in ("index", "decisions", "performance"):
        page.goto((finished / "site" / f"{name}.html").as_uri())
        assert page.locator("figure").count()
        for figure in page.locator("figure").all():
            assert not figure.locator(".plot").is_visible()
            assert not figure.locator("summary").all() or figure.locator("table").is_visible()
    assert not page.locator(".explorer").first.is_visible()
    context.close()


def test_the_threshold_explorer_counts_what_the_evaluation_counted(browser, finished):
    page, wrong = window(browser, finished / "site", 1440, "light")
    show(page, finished / "site", "performance")
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
            # The mark of this explorer moves with it, to where the operating point's ring is.
            place = [100 * (1 - point["test"]["specificity"]), 100 * point["test"]["sensitivity"]]
            assert page.evaluate(MARK, entry["method"].replace("_", "-")) == pytest.approx(place)
        explorer.locator("input").focus()
        page.keyboard.press("End")
        assert explorer.locator("[data-show=TP]").inner_text() == "0"
        page.keyboard.press("Home")
        assert explorer.locator("[data-show=FN]").inner_text() == "0"
    assert wrong == []
    page.context.close()


def test_a_cell_is_enlarged_and_its_neighbours_are_an_arrow_key_away(browser, finished):
    page, wrong = window(browser, finished / "site", 1440, "light")
    show(page, finished / "site", "errors")
    gallery = page.locator("section", has=page.locator("#cells-efficientnet"))
    gallery.locator("select[data-filter=correct]").select_option("wrong")
    shown = gallery.locator(".gallery li:visible")
    assert {cell.get_attribute("data-correct") for cell in shown.all()} == {"wrong"}
    assert not [
        title for title in gallery.locator("h3:visible").all_inner_texts() if title.startswith("Sure and correct")
    ]
    cells = [cell.evaluate("cell => ({ ...cell.dataset })") for cell in shown.all()]
    shown.first.locator("button").press("Enter")
    dialog = page.locator("dialog")
    for key, position in (("ArrowRight", 1), ("ArrowLeft", 0), ("ArrowRight", 1)):
        page.keyboard.press(key)
        said = dialog.inner_text()
        assert cells[position]["file"] in said
        assert cells[position]["votes"] in said
        assert f"Patient {cells[position]['patient']}" in said
    assert dialog.locator("img").count() == 2
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert shown.first.locator("button").evaluate("e => e === document.activeElement")
    assert wrong == []
    page.context.close()


def test_a_patients_dots_follow_the_threshold_and_show_their_cells(browser, finished):
    page, wrong = window(browser, finished / "site", 1440, "light")
    show(page, finished / "site", "performance")
    plot = page.locator("#figure-strip-efficientnet .plot")
    page.locator("[data-strip=figure-strip-efficientnet]").fill("70")
    frame = read_inputs(finished).cells_of("efficientnet")
    right = (frame["p_positive"] >= 0.7) == (frame["label"] == "ALL")
    assert plot.evaluate("plot => plot.data.map((trace) => trace.x.length)") == [right.sum(), (~right).sum()]
    page.emulate_media(color_scheme="dark")  # drawn again, and still so
    page.wait_for_function("() => getComputedStyle(document.body).color !== 'rgb(31, 35, 40)'")
    assert plot.evaluate("plot => plot.layout.shapes[0].x0") == 70
    clicked = plot.evaluate("plot => plot.data[0].customdata[0][1]")
    dot = plot.locator(".points path").first.bounding_box()
    page.mouse.click(dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2)
    page.wait_for_function("() => document.querySelector('dialog').open")
    said = page.locator("dialog").inner_text()
    assert clicked in said
    assert page.locator("dialog img").first.get_attribute("src").startswith("cells/")
    assert wrong == []
    page.context.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run whose classes, patients, subjects and files all bear hostile names, from its predictions on."""
    kinds = [name for name in HOSTILE.values() if name]
    renamed = {}
    root = make_tree(
        tmp_path_factory.mktemp("hostile") / "tree",
        lambda root: renamed.update(rename_people(root, lambda _, number: f"{kinds[number % len(kinds)]} {number}")),
    )
    rename_classes(root, {"HEM": HOSTILE["markup"], "ALL": HOSTILE["script"]})
    render(root)
    with contextlib.chdir(root):
        site.run()
    return root, renamed


def test_hostile_names_execute_nothing_in_pages_and_figures(browser, hostile):
    root, renamed = hostile
    page, wrong = window(browser, root / "site", 1440, "light")
    for name in names(root / "site"):
        show(page, root / "site", name)
        assert wrong == []
        assert "executed" not in page.title()
        assert page.evaluate("document.documentElement.scrollWidth") == 1440
        assert page.locator("main img:not([src^='cells/']):not([src^='images/'])").count() == 0
    # They are there, as text: a patient of each kind among the subjects.
    show(page, root / "site", "performance")
    shown = " ".join(page.locator("main").evaluate("e => e.textContent").split())
    tested = {row["subject"] for row in evaluation(root)["patients"][0]["subjects"]}
    assert tested <= set(renamed.values())
    assert all(" ".join(subject.split()) in shown for subject in tested)
    page.context.close()


@pytest.mark.parametrize(
    "classes", [{"HEM": HOSTILE["arabic"], "ALL": HOSTILE["emoji"]}, {"HEM": "", "ALL": "{{ 1 }}"}]
)
def test_names_of_other_writing_or_none_fit_every_page(browser, tree, classes):
    rename_classes(tree, classes)
    report.run()
    page, wrong = window(browser, tree / "site", 360, "light")
    for name in names(tree / "site")[:-1]:
        show(page, tree / "site", name)
        assert wrong == []
        assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.context.close()
