"""The page in Firefox, which is driven by the protocol that it speaks itself (WebDriver BiDi), without a driver."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser


class Firefox:
    """One page in one Firefox; keeps what the browser tells unasked."""

    def __init__(self, address: str) -> None:
        import websocket

        self._socket = websocket.create_connection(f"{address}/session", timeout=120, suppress_origin=True)
        self._asked = 0
        self.events: list[dict[str, Any]] = []
        self("session.new", capabilities={})
        self("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        self._page = self("browsingContext.getTree")["contexts"][0]["context"]

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        self._asked += 1
        self._socket.send(json.dumps({"id": self._asked, "method": method, "params": params}))
        while True:
            told = json.loads(self._socket.recv())
            if told.get("id") == self._asked:
                assert told["type"] == "success", told
                return told["result"]
            self.events.append(told)

    def close(self) -> None:
        self("session.end")
        self._socket.close()

    def open(self, path: Path) -> None:
        self("browsingContext.navigate", context=self._page, url=path.as_uri(), wait="complete")

    def run(self, script: str) -> Any:
        """The value of an expression, numbers and strings only."""
        told = self("script.evaluate", expression=script, target={"context": self._page}, awaitPromise=True)
        assert told["type"] == "success", told
        return told["result"].get("value")

    def asked(self) -> list[str]:
        """What was asked of the network, or of files."""
        return [event["request"]["url"] for event in self.told("network.beforeRequestSent")]

    def told(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") == method]


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    program = shutil.which("firefox") or shutil.which("firefox-esr")
    if program is None:
        pytest.skip("no Firefox on this machine")
    pytest.importorskip("websocket")
    profile = str(tmp_path_factory.mktemp("firefox"))
    command = [program, "--headless", "--no-remote", "--remote-debugging-port=0", "--profile", profile]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr
        said = (re.search(r"WebDriver BiDi listening on (ws://\S+)", line) for line in process.stderr)
        opened = Firefox(next(found[1] for found in said if found))
        yield opened
        opened.close()
        process.terminate()


def test_firefox_draws_every_chart_says_nothing_and_asks_nobody(firefox: Firefox, page: Path) -> None:
    firefox.open(page)
    charts = firefox.run("document.querySelectorAll('.chart').length")
    assert charts >= 8
    end = time.monotonic() + 60
    for place in range(charts):
        while not firefox.run(
            f"(() => {{ const chart = document.querySelectorAll('.chart')[{place}]; chart.scrollIntoView(); "
            "return chart.querySelectorAll('svg path').length; })()"
        ):
            assert time.monotonic() < end, f"chart {place} was never drawn"
            time.sleep(0.05)
    assert [url for url in firefox.asked() if not url.startswith(("file:", "data:", "blob:"))] == []
    assert [event["text"] for event in firefox.told("log.entryAdded") if event["level"] in ("warn", "error")] == []


def test_firefox_chooses_models_and_zooms(firefox: Firefox, page: Path) -> None:
    firefox.open(page)
    labels = "[...document.querySelectorAll('#accuracy-1 .role-axis-label text')].map((e) => e.textContent).join(' ')"

    def changes(script: str) -> str:
        before = firefox.run(labels)
        firefox.run(script)
        end = time.monotonic() + 60
        while (now := firefox.run(labels)) == before:
            assert time.monotonic() < end, "nothing changed"
            time.sleep(0.05)
        return now

    firefox.run("document.querySelector('#accuracy-1').scrollIntoView()")
    changes("1")
    assert "mlp" in firefox.run(labels)
    changes("document.querySelector('#accuracy-1 [data-zoom=\"0.7\"]').click()")
    assert "mlp" not in changes("document.querySelector('.models [data-recipe][value=mlp]').click()")


def test_a_request_of_a_page_would_be_seen(firefox: Firefox, tmp_path: Path) -> None:
    (tmp_path / "asks.html").write_text("<img src='http://127.0.0.1:40999/pixel.png'>")
    firefox.open(tmp_path / "asks.html")
    assert "http://127.0.0.1:40999/pixel.png" in firefox.asked()
