"""Debian's Chromium without a window, steered by its own chromedriver: pages are loaded from files, and looked at as people would see them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars", "--disable-dev-shm-usage"),
)

# Every piece of text that is shown, with its colour and the colours behind it from the page up; what is drawn instead of text likewise.
_COLOURS = """
const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
const over = (top, under) => { const a = top[3] === undefined ? 1 : top[3];
  return [0, 1, 2].map(i => top[i] * a + under[i] * (1 - a)); };
const behind = element => { const chain = [];
  for (let each = element; each; each = each.parentElement) chain.unshift(parse(getComputedStyle(each).backgroundColor));
  return chain.reduce((under, top) => over(top, under), [255, 255, 255]); };
const light = colour => { const [r, g, b] = colour.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((m, n) => n - m); return (x + 0.05) / (y + 0.05); };
const shown = element => element.checkVisibility({contentVisibilityAuto: true, opacityProperty: true, visibilityProperty: true});
const found = [];
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const text = texts.currentNode.data.trim(), element = texts.currentNode.parentElement;
  if (!text || !shown(element)) continue;
  const ground = behind(element);
  found.push({what: text.slice(0, 40), ratio: ratio(over(parse(getComputedStyle(element).color), ground), ground), least: 4.5});
}
for (const icon of document.querySelectorAll('svg.i')) {
  if (!shown(icon)) continue;
  const ground = behind(icon);
  found.push({what: icon.outerHTML, ratio: ratio(over(parse(getComputedStyle(icon).fill), ground), ground), least: 3});
}
return found;
"""
_WIDE = """
const limit = document.documentElement.clientWidth;
const out = [...document.body.querySelectorAll('*')].filter(e => e.getClientRects().length && e.getBoundingClientRect().right > limit + 0.5);
return {width: document.documentElement.scrollWidth, out: out.map(e => e.outerHTML.slice(0, 120))};
"""
# What is operated by hand, and pictures: they need names.
_NAMED = {"link", "button", "DisclosureTriangle", "image", "img", "checkbox", "radio", "textbox", "combobox"}


class Browser:
    """A browser with one page."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver

    def show(self, page: Path, width: int = 1200, dark: bool = False, media: str = "", opened: bool = True) -> None:
        """Loads the page, for that medium ('': as the browser has it); `opened` opens all that can be opened."""
        self._driver.get_log("browser")
        self._driver.get_log("performance")
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})
        self._driver.get(page.as_uri())
        if opened:
            self.run("for (const each of document.querySelectorAll('details')) each.open = true")

    def run(self, script: str) -> Any:
        """The value of a script."""
        return self._driver.execute_script(script)

    def complaints(self) -> list[str]:
        """What stands on the console."""
        return [entry["message"] for entry in self._driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the page was shown."""
        messages = [json.loads(entry["message"])["message"] for entry in self._driver.get_log("performance")]
        return [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]

    def pale(self) -> list[dict[str, Any]]:
        """Text and icons with too little contrast (WCAG 2, 1.4.3 and 1.4.11)."""
        found: list[dict[str, Any]] = self.run(_COLOURS)
        assert found, "there is no text at all"
        return [each for each in found if each["ratio"] < each["least"]]

    def wide(self) -> dict[str, Any]:
        """How wide the page is, and what sticks out of the window."""
        found: dict[str, Any] = self.run(_WIDE)
        return found

    def accessible(self) -> list[tuple[str, str]]:
        """The page as assistive technology gets it: (role, name)."""
        self._driver.execute_cdp_cmd("Accessibility.enable", {})
        nodes = self._driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        return [
            (str(node["role"]["value"]), str(node.get("name", {}).get("value", "")).strip())
            for node in nodes
            if not node.get("ignored") and "role" in node
        ]

    def nameless(self) -> list[tuple[str, str]]:
        """What is operated, or is a picture, and has no name."""
        return [(role, name) for role, name in self.accessible() if role in _NAMED and not name]

    def press(self, selector: str, key: str) -> None:
        """Puts the focus on an element and presses a key."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        code, text = {"Enter": (13, "\r"), " ": (32, " "), "ArrowDown": (40, "")}[key]
        event = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}
        for kind in ("keyDown", "keyUp"):
            self._driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": kind, **event})

    def printed(self) -> bytes:
        """The page as a PDF on A4."""
        paper = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": False}
        return base64.b64decode(self._driver.execute_cdp_cmd("Page.printToPDF", paper)["data"])

    def picture(self) -> bytes:
        """The whole page as a PNG."""
        size = self.run("return [document.documentElement.clientWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], 16_000), "scale": 1}
        shot = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        return base64.b64decode(self._driver.execute_cdp_cmd("Page.captureScreenshot", shot)["data"])


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own."""
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(service=Service(executable_path="/usr/bin/chromedriver"), options=options)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
