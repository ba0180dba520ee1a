"""The report by keyboard alone, in Chromium: all that can be used is reached, in order, and seen to be reached."""

import re

import pytest

from .test_browser import names, show, window

pytestmark = pytest.mark.browser

# What a reader may use, in the order of the page; what closed details hide has no box.
USABLE = "a[href], button, input, select, summary, [tabindex='0']"
ALL = f"""[...document.querySelectorAll("{USABLE}")].filter((e) => e.checkVisibility())"""
MARK = f"{ALL}.forEach((e, i) => {{ e.dataset.order = i; }})"
FOCUSED = """() => {
  const e = document.activeElement, box = e.getBoundingClientRect(), style = getComputedStyle(e);
  let behind = e.parentElement;
  while (behind && getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
  return {
    order: e.dataset.order, seen: box.bottom > 0 && box.top < innerHeight && box.width > 0 && box.right > 0,
    line: style.outlineStyle, width: parseFloat(style.outlineWidth), colour: style.outlineColor,
    behind: behind ? getComputedStyle(behind).backgroundColor : "rgb(255, 255, 255)",
  };
}"""


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def tab_to(page, locator, limit=200):
    """Press Tab until the element has the focus."""
    for _ in range(limit):
        page.keyboard.press("Tab")
        if locator.evaluate("e => e === document.activeElement"):
            return
    pytest.fail(f"Tab does not reach {locator}")


@pytest.mark.parametrize(
    ("pages", "scheme"),
    [
        (["index", "decisions"], "light"),
        pytest.param(None, "light", marks=pytest.mark.slow),
        pytest.param(None, "dark", marks=pytest.mark.slow),
    ],
)
def test_tab_reaches_everything_in_order_with_a_visible_focus(browser, complete, pages, scheme):
    page, wrong = window(browser, complete, 1440, scheme)
    for name in pages or names(complete)[:-1]:  # the whole report holds nothing that its pages do not
        show(page, complete, name)
        page.evaluate(MARK)
        page.evaluate("scrollTo(0, 0)")
        for position in range(page.evaluate(f"{ALL}.length")):
            page.keyboard.press("Tab")
            found = page.evaluate(FOCUSED)
            assert found["order"] == str(position), f"{name}: Tab leads to {found['order']} and not to {position}"
            assert found["seen"], f"{name}: {position} has the focus outside of the window"
            assert (found["line"], found["width"]) == ("solid", 3.0), f"{name}: {position} shows no focus"
            assert contrast(found["colour"], found["behind"]) >= 3, f"{name}: {position}, {found}"
        assert wrong == []
    page.context.close()


def test_the_skip_link_comes_first_and_leads_past_the_navigation(browser, finished):
    page, _ = window(browser, finished / "site", 1440, "light")
    show(page, finished / "site", "performance")
    skip = page.get_by_role("link", name="Skip to the content")
    assert skip.bounding_box()["x"] < 0
    page.keyboard.press("Tab")
    assert skip.evaluate("e => e === document.activeElement")
    assert skip.bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
    page.context.close()


def test_the_navigation_leads_to_another_page(browser, finished):
    page, _ = window(browser, finished / "site", 1440, "light")
    show(page, finished / "site", "index")
    tab_to(page, page.get_by_role("link", name="Decisions", exact=True))
    page.keyboard.press("Enter")
    page.wait_for_url("**/decisions.html")
    page.context.close()


def test_the_numbers_of_a_figure_open_and_close(browser, finished):
    page, _ = window(browser, finished / "site", 1440, "light")
    show(page, finished / "site", "index")
    figure = page.locator("#figure-forest")
    tab_to(page, figure.locator("summary"))
    assert not figure.locator("table").is_visible()
    page.keyboard.press("Enter")
    assert figure.locator("table").is_visible()
    page.keyboard.press("Tab")
    assert figure.locator(".table-box").evaluate("e => e === document.activeElement")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    assert not figure.locator("table").is_visible()
    page.context.close()


def test_a_wide_table_scrolls_on_a_phone(browser, finished):
    page, _ = window(browser, finished / "site", 360, "light")
    show(page, finished / "site", "index")
    box = page.locator(".table-box:visible").first
    tab_to(page, box)
    assert box.evaluate("e => e.scrollWidth > e.clientWidth && e.scrollLeft === 0")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("e => e.scrollLeft > 0", arg=box.element_handle())
    page.context.close()


def test_the_threshold_moves_by_arrow_keys_and_is_announced(browser, finished):
    page, _ = window(browser, finished / "site", 1440, "light")
    show(page, finished / "site", "performance")
    explorer = page.locator(".explorer").first
    tab_to(page, explorer.locator("input"))
    page.keyboard.press("ArrowRight")
    assert explorer.locator("[data-show=threshold]").inner_text() == "0.505"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert explorer.locator("[data-show=threshold]").inner_text() == "0.495"
    assert explorer.locator("table").get_attribute("aria-live") == "polite"
    page.keyboard.press("Tab")
    button = explorer.locator("button").first
    assert button.evaluate("e => e === document.activeElement")
    page.keyboard.press("Space")
    assert (
        explorer.locator("[data-show=threshold]").inner_text() == f"{float(button.get_attribute('data-threshold')):.3f}"
    )
    page.context.close()


def test_the_last_cell_of_the_gallery_is_reached_and_every_picture_is_described(browser, finished):
    page, _ = window(browser, finished / "site", 1440, "light")
    show(page, finished / "site", "errors")
    cells = page.locator(".gallery img")
    assert cells.count()
    assert all(picture.get_attribute("alt") for picture in cells.all())
    page.evaluate("scrollTo(0, 0)")
    page.keyboard.press("End")
    seen = "e => { const box = e.getBoundingClientRect(); return box.top < innerHeight && box.bottom > 0; }"
    page.wait_for_function(seen, arg=cells.last.element_handle())
    page.context.close()
