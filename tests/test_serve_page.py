"""The page of the server: its parts, and in Chromium that it speaks, stops, downloads and says what is wrong."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import soundfile
from served import Server, serving
from tiny_voice import tiny_voice


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("--voice", tiny_voice(tmp_path_factory.mktemp("voice"))) as running:
        yield running


class Elements(HTMLParser):
    """Every element's name and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag in tags]


def test_it_needs_nothing_from_elsewhere_and_every_field_has_a_label(server: Server) -> None:
    response = server.ask("GET", "/")
    html = response.read().decode()
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert not re.search(r"https?://|//[a-z]+\.", html)
    page = Elements(html)
    labelled = {attributes["for"] for attributes in page.all("label")}
    fields = {attributes["id"] for attributes in page.all("textarea", "select", "input")}
    assert fields == labelled == {"text", "voice", "speed", "kind", "token"}
    used = set(re.findall(r"at\(\"([a-z]+)\"\)", html))
    assert used <= {attributes["id"] for _, attributes in page.found if "id" in attributes}
    assert page.all("html") == [{"lang": "en"}] and {"id": "status", "role": "status"} in page.all("p")
    assert "prefers-color-scheme: dark" in html and "width=device-width" in html


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright and its Chromium")
    with playwright.sync_playwright() as running:
        try:
            chromium = running.chromium.launch(args=["--autoplay-policy=no-user-gesture-required"])
        except playwright.Error as error:
            pytest.skip(f"needs playwright's Chromium: {str(error).splitlines()[0]}")
        yield chromium
        chromium.close()


def test_in_chromium(server: Server, browser: Any, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 640}, color_scheme="dark")
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(server.address)
    page.wait_for_function("document.getElementById('voice').options.length === 2")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_label("Voice").select_option(label="ben (tiny)")
    page.get_by_label("Text", exact=True).fill("Hello there.")
    with page.expect_response("**/v1/audio/speech") as answered:
        page.keyboard.press("Control+Enter")
    assert answered.value.status == 200
    page.wait_for_function("document.getElementById('status').textContent === 'Done.'")
    with page.expect_download() as started:
        page.get_by_role("button", name="Download").click()
    started.value.save_as(tmp_path / "speech.mp3")
    assert soundfile.info(tmp_path / "speech.mp3").duration > 0.1
    assert wrong == []
    page.get_by_label("Text", exact=True).fill(" ")
    page.get_by_role("button", name="Speak").click()
    page.wait_for_function("document.getElementById('status').textContent.startsWith('there is no text')")
    page.close()
