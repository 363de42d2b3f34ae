"""The report in a real browser: silent, closed, readable in every mode.

Nothing is put into the page: requests, console and policy violations are seen from the browser's side, the
rest through the accessibility tree and computed styles.
"""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from wardline.crypto import SigningKey
from wardline.evidence.report import render_report
from wardline.run import RunOptions, run

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install the package `chromium`"),
]

VECTORS = Path(__file__).parents[1] / "vectors"
OUTCOMES = ["pass", "fail", "inconclusive"]
MODES = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "print": {"media": "print"},
}
ATTACK = (
    '"><script>document.title="owned"</script><img src="http://127.0.0.1:9/x"><p style="color:red">{{ 7 * 7 }}</style>'
)


@pytest.fixture(scope="module")
def browser():
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


def evidence(name: str) -> dict:
    return json.loads((VECTORS / f"evidence_{name}.json").read_bytes())


@dataclass
class Watched:
    page: object
    session: object
    url: str
    requests: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


@contextmanager
def opened(browser, folder: Path, content: bytes, *, width: int = 1200, **media: str) -> Iterator[Watched]:
    file = folder / "report.html"
    file.write_bytes(content)
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.emulate_media(**media)
    session = page.context.new_cdp_session(page)
    watched = Watched(page=page, session=session, url=file.as_uri())
    page.on("request", lambda request: watched.requests.append(request.url))
    page.on("console", lambda message: watched.console.append(message.text))
    page.on("pageerror", lambda error: watched.console.append(str(error)))
    session.on("Audits.issueAdded", lambda event: watched.violations.append(event["issue"]["code"]))
    session.on("Log.entryAdded", lambda event: watched.console.append(event["entry"]["text"]))
    session.send("Audits.enable")
    session.send("Log.enable")
    page.goto(watched.url, wait_until="load")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")  # painted, reported
    try:
        yield watched
    finally:
        page.close()


def hostile(name: str) -> bytes:
    value = evidence(name)
    value["project"] = ATTACK + "w" * 10_000
    value["purpose"] = value["verdict"]["summary"] = ATTACK + "\u202e" + "Z" + "\u0301" * 3000 + "w" * 10_000
    value["dataset"]["source"] = value["model"]["architecture"]["kind"] = "w" * 10_000
    value["environment"]["packages"] = {ATTACK: "w" * 400, "w" * 400: ATTACK}
    for rule in value["rules"]:
        rule |= {"title": "w" * 300, "message": ATTACK + "w" * 3000, "code": "W" * 200}
    for one in value["measurements"]:
        one |= {"method": "w" * 500, "reference": ATTACK, "subject": one["subject"]}
        if one["control"]:
            one["control"]["description"] = ATTACK + "w" * 500
    value["claims"][0] |= {"statement": ATTACK, "adversary": "w" * 2000, "reference": "w" * 2000}
    value["not_assessed"] = [{"subject": "w" * 500, "reason": ATTACK}]
    value["stages"] = [{"id": "w" * 300, "sha256": "f" * 300, "seconds": 1.0}]
    return render_report(value)


# --- silent and closed --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OUTCOMES)
def test_opening_the_report_is_silent(browser, tmp_path, name):
    with opened(browser, tmp_path, render_report(evidence(name))) as watched:
        assert watched.page.evaluate("document.scripts.length") == 0
        assert (watched.requests, watched.console, watched.violations) == ([watched.url], [], [])


def test_the_report_of_a_real_run_is_silent_and_says_what_the_run_found(browser, small_project, tmp_path):
    options = RunOptions(out=tmp_path / "run", ledger=tmp_path / "ledger.sqlite", key=SigningKey.generate())
    outcome = run(small_project, options=options)
    content = (outcome.evidence.parent / "report.html").read_bytes()
    for media in MODES.values():
        with opened(browser, tmp_path, content, **media) as watched:
            assert watched.requests == [watched.url]
            assert watched.console == []
            assert watched.violations == []
            assert outcome.gate.verdict.value in watched.page.inner_text("h1").lower()
            assert "dp.training" in watched.page.inner_text("main")


def test_hostile_values_neither_run_nor_load_nor_style(browser, tmp_path):
    with opened(browser, tmp_path, hostile("fail")) as watched:
        assert watched.page.title() != "owned"
        assert watched.page.evaluate("document.querySelectorAll('script, img, [style]').length") == 0
        assert (watched.requests, watched.console, watched.violations) == ([watched.url], [], [])


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/x", asked
        server.shutdown()
        thread.join()


def test_the_policy_stops_what_escaping_might_miss(browser, tmp_path):
    """A breach planted in the page itself: with the policy it is blocked and seen, without it it works."""
    colour = "getComputedStyle(document.querySelector('main > p')).color"
    with listening() as (address, asked):
        breach = ATTACK.removeprefix('">').replace("http://127.0.0.1:9/x", address).encode()
        guarded = render_report(evidence("pass")).replace(b'<main class="wide" id="main">', b"<main>" + breach)
        assert breach in guarded
        with opened(browser, tmp_path, guarded) as watched:
            assert watched.page.title() != "owned"
            assert watched.page.evaluate(colour) != "rgb(255, 0, 0)"
            assert "ContentSecurityPolicyIssue" in watched.violations
            assert any("Content Security Policy" in line for line in watched.console)
        assert asked == []
        naked = guarded.replace(b'http-equiv="Content-Security-Policy"', b'name="nothing"')
        with opened(browser, tmp_path, naked) as watched:
            assert watched.page.title() == "owned"
            assert watched.page.evaluate(colour) == "rgb(255, 0, 0)"
        assert asked == ["/x"]


# --- readable -----------------------------------------------------------------------------------------

# Everything with text of its own: its colour, and the first opaque ground behind it.
TEXTS = """() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.data.trim() || ['TITLE', 'DESC'].includes(element.tagName.toUpperCase())) continue;
    if (element.closest('.hidden, .skip')) continue;
    if (!element.checkVisibility({visibilityProperty: true})) continue;
    const style = getComputedStyle(element);
    let ground = element;
    while (ground && /^rgba\\(.*, 0\\)$/.test(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
    const back = getComputedStyle(ground || document.documentElement).backgroundColor;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    found.push({
      text: node.data.trim().slice(0, 40), fore: element.closest('svg') ? style.fill : style.color, back,
      size: parseFloat(style.fontSize), right: box.right, left: box.left, scrolls: !!element.closest('.scroll'),
    });
  }
  return found;
}"""


def luminance(colour: str) -> float:
    assert colour.startswith("rgb("), colour
    channels = [float(one) / 255 for one in colour[4:-1].split(",")]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", OUTCOMES)
def test_all_text_has_contrast_in_every_mode(browser, tmp_path, name, mode):
    with opened(browser, tmp_path, render_report(evidence(name)), **MODES[mode]) as watched:
        texts = watched.page.evaluate(TEXTS)
        picture = tmp_path / f"{name}-{mode}.png"
        watched.page.screenshot(path=picture)
    assert picture.stat().st_size > 20_000
    assert len(texts) > 150
    weak = [one for one in texts if contrast(one["fore"], one["back"]) < 4.5]
    assert weak == []
    assert min(one["size"] for one in texts) >= 11  # pixels
    grounds = {one["back"] for one in texts}
    assert ("rgb(255, 255, 255)" in grounds) == (mode != "dark")


def test_the_contrast_check_finds_grey_on_white(browser, tmp_path):
    with opened(browser, tmp_path, b"<!doctype html><body><p style='color: #999; background: #fff'>pale") as watched:
        (pale,) = watched.page.evaluate(TEXTS)
    assert contrast(pale["fore"], pale["back"]) < 4.5


@pytest.mark.parametrize(
    ("name", "width"), [*((name, 320) for name in (*OUTCOMES, "hostile")), ("hostile", 768), ("hostile", 1200)]
)
def test_the_page_reflows_without_scrolling_sideways(browser, tmp_path, name, width):
    content = hostile("fail") if name == "hostile" else render_report(evidence(name))
    with opened(browser, tmp_path, content, width=width) as watched:
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
        texts = watched.page.evaluate(TEXTS)
        watched.page.screenshot(path=tmp_path / f"{name}-{width}.png")
        watched.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
        opened_texts = watched.page.evaluate(TEXTS)
    assert len(opened_texts) > len(texts)
    outside = [
        one for one in (*texts, *opened_texts) if not one["scrolls"] and (one["right"] > width or one["left"] < 0)
    ]
    assert outside == []


def test_the_verdict_stays_on_the_first_screen_whatever_the_project_is_called(browser, tmp_path):
    with opened(browser, tmp_path, hostile("fail"), width=1200) as watched:
        box = watched.page.locator("h1 .verdict").bounding_box()
        assert box["y"] + box["height"] < 600


def test_what_is_folded_on_the_screen_is_printed(browser, tmp_path):
    folded = "[...document.querySelectorAll('details > *:not(summary)')].map(one => one.checkVisibility())"
    with opened(browser, tmp_path, render_report(evidence("pass"))) as watched:
        assert set(watched.page.evaluate(folded)) == {False}
        assert watched.page.locator("nav").is_visible()
        watched.page.emulate_media(media="print")
        assert set(watched.page.evaluate(folded)) == {True}
        assert watched.page.locator("nav").is_hidden()
        assert watched.page.pdf(format="A4").startswith(b"%PDF")


# --- without eyes or mouse ----------------------------------------------------------------------------


def roles(watched: Watched) -> list[tuple[str, str, dict]]:
    tree = watched.session.send("Accessibility.getFullAXTree")
    return [
        (
            node["role"]["value"],
            node.get("name", {}).get("value", ""),
            {one["name"]: one["value"].get("value") for one in node.get("properties", [])},
        )
        for node in tree["nodes"]
        if not node.get("ignored")
    ]


@pytest.mark.parametrize("width", [320, 1200])
def test_the_accessibility_tree_tells_the_whole_story(browser, tmp_path, width):
    with opened(browser, tmp_path, render_report(evidence("fail")), width=width) as watched:
        found = roles(watched)
    names = [role for role, _, _ in found]
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert names.count(landmark) == 1, landmark
    headings = [(name, properties["level"]) for role, name, properties in found if role == "heading"]
    assert [name for name, level in headings if level == 1] == ["Project broken-noise Fail"]
    assert "What was promised, and what was measured" in [name for name, level in headings if level == 2]
    pictures = [name for role, name, _ in found if role in {"image", "img"}]
    assert len(pictures) == 6
    assert all(pictures)
    # Tables stay tables where they are laid out as cards.
    assert names.count("table") >= 2
    headers = [name for role, name, _ in found if role == "rowheader"]
    assert any("ε ≤" in name for name in headers)
    assert [name for role, name, _ in found if role == "columnheader"][:4] == [
        "Promise",
        "Measured",
        "Control",
        "Outcome",
    ]


def test_the_skip_link_is_first_and_can_be_seen(browser, tmp_path):
    with opened(browser, tmp_path, render_report(evidence("pass"))) as watched:
        link = watched.page.locator("a.skip")
        assert link.bounding_box()["y"] < -40
        # The browser acts on a key after the call returns, so each effect is waited for; its absence is a time-out.
        watched.page.keyboard.press("Tab")
        watched.page.wait_for_function("document.activeElement.className === 'skip'")
        watched.page.wait_for_function("document.querySelector('a.skip').getBoundingClientRect().top >= 0")
        watched.page.keyboard.press("Enter")
        watched.page.wait_for_url(lambda url: url.endswith("#promises"))


def test_details_open_by_keyboard(browser, tmp_path):
    with opened(browser, tmp_path, render_report(evidence("pass"))) as watched:
        watched.page.locator("figure summary").first.focus()
        watched.page.keyboard.press("Enter")
        watched.page.locator("figure details").first.get_by_role("table").wait_for(state="visible")
