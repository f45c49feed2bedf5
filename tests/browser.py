"""What every page must stand, in a real browser: pass check_page a browser and the path of an HTML file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

FIRST_PAINT = """new Promise(done => new PerformanceObserver(list => done(list.getEntries()[0].startTime))
    .observe({type: "paint", buffered: true}))"""


@contextmanager
def open_page(
    browser: Browser, path: Path, width: int, dark: bool = False, csp: bool = True
) -> Iterator[tuple[Page, list[str], list[str]]]:
    """The page as loaded at this width, what it complained of, and what it asked for outside of itself."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=not csp, reduced_motion="reduce"
    )
    page, errors, requests = context.new_page(), [], []
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    own = path.resolve().as_uri()
    page.goto(own)
    yield page, errors, [url for url in requests if url != own and not url.startswith("data:")]
    context.close()


def check_page(browser: Browser, path: Path) -> None:
    """AssertionError with the fault when the page at this path is not fit to be sent to someone."""
    text = path.read_text(encoding="utf-8")
    found = [sign for sign in ("Traceback", "No description has been provided") if sign in text]
    found += ["<script"] if text.count("<script") != 2 * ('<script id="views" type="application/json">' in text) else []
    assert not found, f"on the page: {found}"  # of scripts the one that shows what is chosen, and its data
    with open_page(browser, path, 390) as (page, errors, requests):
        first = page.evaluate(FIRST_PAINT)
        for _ in range(4 if first >= 1000 else 0):  # the least of five: another program on the core is not the page's
            page.reload()
            first = min(first, page.evaluate(FIRST_PAINT))
        assert first < 1000, f"first paint after {first:.0f} ms"
        assert not errors + requests, f"errors {errors}, requests {requests}"
        check_width(page)
        check_words(page)
        check_dark_and_print(page)
    with open_page(browser, path, 390, csp=False) as (page, _, _):  # else axe-core, a script, would not run
        check_access(page)


def check_width(page: Page) -> None:
    """Nothing is wider than a small phone, a phone and a desk's screen; 390 px is how it leaves the page."""
    for width in (1200, 320, 390):
        page.set_viewport_size({"width": width, "height": 900})
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{wide} px wide on a screen of {width}"


def check_words(page: Page) -> None:
    """A title, one first heading, images that load and say what they show, links that lead somewhere on the page."""
    assert page.title().strip(), "no title"
    assert page.locator("h1").count() == 1, f"{page.locator('h1').count()} headings h1"
    bad = page.evaluate("[...document.images].filter(i => !(i.alt.trim() && i.naturalWidth)).map(i => i.outerHTML)")
    assert not bad, f"without alt text, or not loaded: {[image[:200] for image in bad]}"
    links = page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map(a => decodeURIComponent(a.hash.slice(1)))"
    )
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert set(links) <= set(ids), f"links to nowhere: {set(links) - set(ids)}"


def check_dark_and_print(page: Page) -> None:
    """Another background in the dark, but the light one on paper, and it prints."""
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(colour) != light, "the same in the dark"
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate(colour) == light, "dark on paper"
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def check_access(page: Page) -> None:
    """axe-core finds no serious fault, in the light and in the dark."""
    page.add_style_tag(content=".scroll { background: none !important }")  # it judges no text on a gradient
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page).response["violations"]
        grave = [fault for fault in found if fault["impact"] in ("serious", "critical")]
        assert not grave, [(fault["id"], [node["html"][:200] for node in fault["nodes"]]) for fault in grave]
