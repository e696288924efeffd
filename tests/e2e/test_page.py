"""The page in a real browser: headless Chromium, opened from a file, with no network to reach."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium with its driver on this machine")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


def show(browser: Any, page: Path, *, width: int = 1280, scheme: str = "light") -> None:
    """Opens the page anew, for a reader who wants no motion, and waits until every chart is drawn and has its size."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    )
    wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}  # else a jump scrolls on beneath the pointer
    features = [{"name": name, "value": value} for name, value in wanted.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get("about:blank")
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(page.as_uri())
    wait(
        lambda: browser.execute_script(
            "return [...document.querySelectorAll('.chart')].every((chart) => chart.querySelector('svg[aria-hidden]'))"
        )
    )


def texts(browser: Any, selector: str) -> list[str]:
    """The text of every element that a selector finds."""
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent.trim())", selector
    )


def wait(done: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


def test_every_chart_is_drawn_and_the_console_stays_empty(browser: Any, page: Path) -> None:
    show(browser, page)
    assert browser.execute_script("return document.querySelectorAll('.chart svg').length") >= 8
    assert browser.get_log("browser") == []
    marks = browser.execute_script("return document.querySelectorAll('#accuracy-1 .mark-symbol path').length")
    assert marks >= 2, "one point a recipe"
    said = browser.execute_script("return [...document.querySelectorAll('.chart')].map((e) => e.getAttribute('aria-label'))")
    assert "mlp" in said[0]
    assert not [label for label in said if not label or label.startswith("Vega")], "what a chart shows is said in words"


def test_the_name_of_a_line_to_compare_with_is_seen(browser: Any, page: Path) -> None:
    show(browser, page)
    clipped = browser.execute_script(
        "return [...document.querySelectorAll('#accuracy-1 .mark-text text')].filter((e) => e.textContent === 'chance')"
        ".map((e) => e.closest('[clip-path]') !== null)"
    )
    assert clipped == [False]


def test_paper_is_light_and_the_screen_comes_back(browser: Any, page: Path) -> None:
    show(browser, page)
    browser.execute_script("document.documentElement.dataset.theme = 'dark'; dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script("return document.documentElement.dataset.theme") == "light"
    ink = "return document.querySelector('#accuracy-1 .role-axis-title text').getAttribute('fill')"
    wait(lambda: browser.execute_script(ink) == "#1c2128")
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script("return document.documentElement.dataset.theme") == "dark"


def test_no_request_leaves(browser: Any, page: Path) -> None:
    show(browser, page)
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in asked, "the log sees requests"
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    refused = browser.execute_script("return fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')")
    assert refused == "refused"


def test_a_hostile_name_stays_text(browser: Any, page: Path, hostile: str) -> None:
    from selenium.common.exceptions import NoAlertPresentException

    show(browser, page)
    with pytest.raises(NoAlertPresentException):
        browser.switch_to.alert.accept()
    rows = texts(browser, "#all-runs tbody th")
    assert hostile in rows
    labels = texts(browser, "#accuracy-1 svg text")
    assert hostile in labels


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_reads_on_its_ground(browser: Any, page: Path, scheme: str) -> None:
    """Contrast of 4.5:1 (WCAG AA) of every text of the page and of the charts' axes and legends."""
    show(browser, page, scheme=scheme)
    low = browser.execute_script(
        """
        const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
        const light = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
        const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
        const ground = (element) => {
          for (let at = element; at; at = at.parentElement) {
            const colour = rgb(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
          }
          return [255, 255, 255];
        };
        const found = [];
        for (const element of document.querySelectorAll("main *, nav *")) {
          const inChart = element.tagName === "text";
          if (inChart && !element.closest(".role-axis, .role-legend")) continue;
          if (!inChart && (element.closest("svg") || element.closest("script"))) continue;
          const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
          if (!own || !element.getClientRects().length) continue;
          const style = getComputedStyle(element);
          const [a, b] = [luminance(rgb(inChart ? style.fill : style.color)), luminance(ground(element))].sort((x, y) => y - x);
          const contrast = (a + 0.05) / (b + 0.05);
          if (contrast < 4.5) found.push([contrast.toFixed(2), element.tagName, element.textContent.slice(0, 40)]);
        }
        return found;
        """
    )
    assert low == []


def test_dark_is_what_the_reader_asks_for(browser: Any, page: Path) -> None:
    def ground() -> str:
        return browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    def points() -> set[str]:
        script = (
            "return [...document.querySelectorAll('#accuracy-1 .mark-symbol path')].map((path) => path.getAttribute('fill'))"
        )
        return set(browser.execute_script(script))  # at once: a chart that is drawn anew replaces its points

    show(browser, page, scheme="dark")
    assert ground() == "rgb(21, 24, 29)"
    dark = points()
    browser.find_element("id", "theme").click()
    wait(lambda: bool(points()) and not points() & dark)
    assert ground() == "rgb(255, 255, 255)"
    browser.execute_script("localStorage.clear()")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(browser: Any, page: Path, width: int) -> None:
    show(browser, page, width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") == width


def test_tables_sort_by_the_keyboard(browser: Any, page: Path, hostile: str) -> None:
    from selenium.webdriver.common.keys import Keys

    def order() -> list[str]:
        return texts(browser, "#all-runs tbody th")

    show(browser, page)
    heads = browser.find_elements("css selector", "#all-runs thead th")
    accuracy = next(head for head in heads if "accuracy" in head.text)
    accuracy.find_element("tag name", "button").send_keys(Keys.ENTER)
    assert accuracy.get_attribute("aria-sort") == "descending"
    assert order()[0] == "cnn-s2"
    accuracy.find_element("tag name", "button").send_keys(Keys.ENTER)
    assert accuracy.get_attribute("aria-sort") == "ascending"
    assert order()[0] == "mlp-s0"
    conflict = next(head for head in heads if "shape share" in head.text)
    for _ in range(2):
        conflict.find_element("tag name", "button").send_keys(Keys.ENTER)
        assert order()[-1] == hostile, "what was not measured stands last either way"


def test_a_model_put_aside_is_gone_from_every_chart_and_table(browser: Any, page: Path, hostile: str) -> None:
    def points(figure: str) -> int:
        return browser.execute_script(f"return document.querySelectorAll('#{figure} .mark-symbol.role-mark path').length")

    def recipes() -> set[str]:
        return set(texts(browser, "#fingerprint tbody tr:not([hidden]) th > span"))

    show(browser, page)
    before = {figure: points(figure) for figure in ("accuracy-1", "training-1", "cue-conflict-1")}
    assert all(count >= 2 for count in before.values())
    browser.execute_script("document.querySelector('.models [data-recipe][value=mlp]').click()")
    wait(lambda: all(0 < points(figure) < count for figure, count in before.items()))
    assert recipes() == {"cnn", hostile}
    assert len(browser.execute_script("return [...document.querySelectorAll('#all-runs tbody tr:not([hidden])')]")) == 4
    assert texts(browser, ".models .count") == ["2 of 3"]
    browser.execute_script("document.querySelector('.models [data-recipe][value=cnn]').click()")
    wait(lambda: hostile not in texts(browser, "#cue-conflict-1 svg text") and points("cue-conflict-1") == 0)
    assert browser.execute_script("return document.querySelector('#cue-conflict-1 .chart').classList.contains('empty')")
    browser.execute_script("document.querySelector('.models .all').click()")
    wait(lambda: {figure: points(figure) for figure in before} == before)
    assert browser.get_log("browser") == []


def test_models_are_chosen_by_the_keyboard(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    show(browser, page)
    summary = browser.find_element("css selector", ".models > summary")
    summary.send_keys(Keys.ENTER)
    box = browser.find_element("css selector", ".models [data-recipe][value=cnn]")
    box.send_keys(Keys.SPACE)
    assert not box.is_selected()
    box.send_keys(Keys.ESCAPE)
    assert not browser.execute_script("return document.querySelector('.models').open")
    assert browser.execute_script("return document.activeElement.tagName") == "SUMMARY"


def test_continuous_axes_zoom_and_come_back(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    def labels(figure: str) -> list[str]:
        return sorted(texts(browser, f"#{figure} .role-axis-label text"))

    show(browser, page)
    for figure in ("accuracy-1", "training-1"):  # one chart, and panels that share their axes
        whole = labels(figure)
        browser.find_element("css selector", f"#{figure} [data-zoom='0.7']").send_keys(Keys.ENTER)
        wait(lambda figure=figure, whole=whole: labels(figure) != whole)
        near = labels(figure)
        browser.find_element("css selector", f"#{figure} [data-zoom='1.43']").send_keys(Keys.ENTER)
        wait(lambda figure=figure, near=near: labels(figure) != near)
        browser.find_element("css selector", f"#{figure} [data-zoom='0']").send_keys(Keys.ENTER)
        wait(lambda figure=figure, whole=whole: labels(figure) == whole)
    hidden = browser.execute_script(
        "return [...document.querySelectorAll('figure')].filter((f) => f.querySelector('.zoom').hidden).map((f) => f.id)"
    )
    assert "accuracy-1" not in hidden
    assert hidden, "a matrix of names has nothing to zoom"
    assert browser.get_log("browser") == []


def test_names_stand_beside_their_curves_and_go_with_them(browser: Any, fake: ModuleType, tmp_path: Path) -> None:
    """Two MLPs look alike: in sight of their ends both names are whole and beside the plot, and legends stay where they are."""
    from selenium.webdriver.common.keys import Keys

    from priorscope.report import write_report

    study = fake.write_study(tmp_path / "study", {"mlp": 0.55})
    for run, ends in (("mlp-of-another-recipe", 0.8), ("mlp-sizes-width=16", 0.3), ("mlp-sizes-width=64", 0.4)):
        fake.write_run(study / "runs" / f"{run}-s0", "mlp", 0, {"accuracy": fake.accuracy(ends, 7)}, ends=ends)

    def names(figure: str) -> list[str]:
        return sorted(name for name in texts(browser, f"#{figure} .mark-text.role-mark text") if name)

    def top(figure: str) -> float:
        return browser.execute_script(
            f"const title = document.querySelector('#{figure} .role-title text').getBoundingClientRect();"
            f"return title.top - document.querySelector('#{figure} .chart').getBoundingClientRect().top"
        )

    show(browser, write_report([study], tmp_path / "report.html"))
    told = ["mlp", "mlp-of-another-recipe"]
    assert names("training-1") == sorted(2 * told), "train and val"
    assert names("training-3") == 2 * ["width=16"] + 2 * ["width=64"], "a grid has a picture of its own"
    assert "mlp-sizes" in texts(browser, "#training-3 h3")[0]
    cut = "return [...document.querySelectorAll('#training-1 .mark-text.role-mark')].map((e) => e.getAttribute('clip-path'))"
    assert set(browser.execute_script(cut)) == {None}
    before = top("training-1")
    for _ in range(3):
        browser.find_element("css selector", "#training-1 [data-zoom='0.7']").send_keys(Keys.ENTER)
    wait(lambda: names("training-1") == [])
    assert abs(top("training-1") - before) < 12
    browser.find_element("css selector", "#training-1 [data-zoom='0']").send_keys(Keys.ENTER)
    wait(lambda: names("training-1") == sorted(2 * told))
    assert browser.get_log("browser") == []


def test_a_chart_is_dragged_and_zoomed_by_the_wheel_with_ctrl_alone(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    def labels() -> list[str]:
        return texts(browser, "#accuracy-1 .role-axis-label text")

    def turn_wheel(ctrl: bool) -> None:
        browser.execute_script(
            "const at = document.querySelector('#accuracy-1 .chart svg').getBoundingClientRect();"
            "const [x, y] = [at.x + at.width / 2, at.y + at.height / 2];"
            "const how = {deltaY: -200, ctrlKey: arguments[0], bubbles: true, cancelable: true, clientX: x, clientY: y};"
            "document.elementFromPoint(x, y).dispatchEvent(new WheelEvent('wheel', how))",
            ctrl,
        )

    show(browser, page)
    plot = browser.find_element("css selector", "#accuracy-1 .chart svg")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    whole = labels()
    ActionChains(browser).move_to_element(plot).click_and_hold().move_by_offset(40, 0).move_by_offset(40, 0).release().perform()
    wait(lambda: labels() != whole)
    moved = labels()
    turn_wheel(ctrl=False)
    assert labels() == moved, "the page scrolls; the chart stays"
    turn_wheel(ctrl=True)
    wait(lambda: labels() != moved)
    assert browser.get_log("browser") == []


def test_figures_can_be_saved(browser: Any, page: Path, tmp_path: Path) -> None:
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    show(browser, page)
    begins = {"svg": b"<svg", "png": b"\x89PNG", "csv": b"subject,family,value"}
    for kind, first in begins.items():
        browser.execute_script(f"document.querySelector('#accuracy-1 [data-save={kind}]').click()")
        wait((tmp_path / f"accuracy.{kind}").exists)
        assert (tmp_path / f"accuracy.{kind}").read_bytes().startswith(first)
    assert "n = 1,000" in (tmp_path / "accuracy.svg").read_text()


def test_every_control_is_reached_by_the_keyboard(browser: Any, page: Path) -> None:
    show(browser, page)
    skipped = browser.execute_script(
        "return [...document.querySelectorAll('a, button, input, summary')]"
        ".filter((e) => e.tabIndex < 0).map((e) => e.outerHTML)"
    )
    assert skipped == []
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('a, button')]"
        ".filter((e) => !e.textContent.trim() && !e.ariaLabel).map((e) => e.outerHTML)"
    )
    assert unnamed == []


def test_words_are_painted_before_a_chart_is_drawn(browser: Any, page: Path) -> None:
    note = """new MutationObserver(() => {
        if (!window.firstChart && document.querySelector('.chart svg')) window.firstChart = performance.now();
    }).observe(document, {childList: true, subtree: true});"""
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": note})
    show(browser, page)
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    painted, drawn = browser.execute_script(
        "return [performance.getEntriesByName('first-contentful-paint')[0].startTime, window.firstChart]"
    )
    print(f"first paint after {painted:.0f} ms, first chart after {drawn:.0f} ms")
    assert painted < drawn


def test_print_shows_every_chart_and_no_control(browser: Any, page: Path) -> None:
    show(browser, page)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    seen = browser.execute_script(
        "return [...document.querySelectorAll('.bar, .tools, .models')].filter((e) => e.getClientRects().length)"
    )
    empty = browser.execute_script("return [...document.querySelectorAll('.chart svg')].filter((svg) => svg.clientHeight < 50)")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert (seen, empty) == ([], [])


def test_a_screenshot_is_kept(browser: Any, page: Path, tmp_path: Path) -> None:
    show(browser, page)
    folder = Path(os.environ.get("PRIORSCOPE_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(folder / "report.png"))
    assert (folder / "report.png").stat().st_size > 20_000
