"""What all HTML pages of ours share: the document around them, icons, badges and times. A page loads nothing and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import time

from pvehooks.report.markup import Content, Markup, tag
from pvehooks.report.style import SHAPES, STYLE
from pvehooks.wording import counted


def document(title: str, main: Content, footer: Content, style: str = "") -> str:
    """The file's text; `style` are rules that only this page needs."""
    body = tag("div", tag("main", main), tag("footer", footer), class_="sheet")
    return f"<!DOCTYPE html>\n{tag('html', _head(title, STYLE + style), tag('body', _sprite(), body), lang='en')}\n"


def _head(title: str, style: str) -> Markup:
    # Even where something got past the escaping, the browser would load and run nothing.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="robots", content="noindex"),
        tag("meta", name="format-detection", content="telephone=no"),
        # Where the file is served by a web server, browsers would ask that for an icon.
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Markup(style)),
    )


def _sprite() -> Markup:
    symbols = (tag("symbol", tag("path", d=path), id=f"i-{name}", viewBox="0 0 16 16") for name, path in SHAPES.items())
    return tag("svg", symbols, class_="sprite", aria_hidden="true")


def icon(name: str) -> Markup:
    """A drawing of SHAPES; what it says stands beside it in words."""
    return tag("svg", tag("use", href=f"#i-{name}"), class_="i", aria_hidden="true")


def badge(tone: str, text: str) -> Markup:
    """A few words in the colour and with the icon of a tone."""
    return tag("span", icon(tone), text, class_=f"badge {tone}")


def when(seconds: int) -> Markup:
    """A time (epoch seconds) in the zone of who writes the page."""
    local = time.localtime(seconds)
    return tag("time", time.strftime("%-d %B %Y, %H:%M %Z", local), datetime=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)))


def more(content: Markup, count: int, noun: str) -> Markup | None:
    """What is too much to be shown at once: behind "5 more VMs"; None where there is none."""
    if count <= 0:
        return None
    return tag("details", tag("summary", f"{counted(count, f'more {noun}')}"), tag("div", content, class_="inside"), class_="more")
