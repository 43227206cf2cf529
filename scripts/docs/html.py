"""The man pages as HTML: of man(7), what roff.py writes, and nothing else."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from scripts.docs.roff import NOTE

_STYLE = (
    ":root{color-scheme:light dark}\nbody{max-width:48rem;margin:1.5rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif}\n"
    "pre,code,dt{font-family:ui-monospace,monospace;font-size:.92em}\npre{overflow-x:auto;padding:.5rem .75rem;background:#8881;border-radius:4px}\n"
    "h2{margin-top:2rem;border-bottom:1px solid #8884;font-size:1.1rem;letter-spacing:.04em}\nh3{margin-bottom:.25rem}\ndt{margin-top:.75rem}\ndd{margin-left:1.5rem}\nnav{columns:2;font-size:.85em}\nnav a{display:block;margin:.15rem 0}\n"
)
_SPECIAL = {"\\ ": " ", "\\e": "\\", "\\-": "-", "\\(aq": "'", "\\(ga": "`", "\\(ha": "^", "\\(ti": "~", "\\(dq": '"', "\\&": ""}
_TOKEN = re.compile(r"\\f[BIR]|\\\((?:aq|ga|ha|ti|dq)|\\[ e&-]")
_FONTS = {"B": "code", "I": "var"}
_PAGE = re.compile(r"<code>(pvehooks[\w.-]*)</code>\((\d)\)|\b(pvehooks[\w.-]*)\((\d)\)")


def page(roff: str) -> str:
    """The page as HTML, in one file that needs nothing else."""
    lines = roff.splitlines()
    name = lines[1].split(" ")[1].replace("\\-", "-").lower()
    body = list(_body(lines[4:]))
    headings = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', "\n".join(body))
    links = "\n".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in headings)
    text = "\n".join(body)
    linked = _PAGE.sub(lambda found: f'<a href="{found[1] or found[3]}.{found[2] or found[4]}.html">{found[0]}</a>', text)
    return (
        f'<!DOCTYPE html>\n<!-- {NOTE} -->\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>\n'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>\n{_STYLE}</style></head>\n'
        f"<body><h1>{name}</h1>\n<nav>{links}</nav>\n{linked}\n</body></html>\n"
    )


def _inline(text: str) -> str:
    """A line of text."""
    shown, font, end = "", "", 0
    for token in _TOKEN.finditer(text):
        shown += html.escape(text[end : token.start()], quote=False)
        end = token.end()
        if token[0] in _SPECIAL:
            shown += html.escape(_SPECIAL[token[0]], quote=False)
            continue
        shown += f"</{_FONTS[font]}>" if font in _FONTS else ""
        font = token[0][-1]
        shown += f"<{_FONTS[font]}>" if font in _FONTS else ""
    return shown + html.escape(text[end:], quote=False)


class _Body:
    """The lines of the body, with what is open."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._paragraph: list[str] = []
        self._in_list = False

    def close(self, list_too: bool = False) -> None:
        """Ends the paragraph, and the list."""
        if self._paragraph:
            self.lines.append(f"<p>{chr(10).join(self._paragraph)}</p>")
            self._paragraph = []
        if self._in_list and list_too:
            self.lines.append("</dd></dl>")
            self._in_list = False

    def add(self, line: str) -> None:
        """A line of prose."""
        self._paragraph.append(line)

    def term(self, line: str) -> None:
        """A term of a list; its description follows."""
        self.close()
        self.lines.append(f"{'</dd>' if self._in_list else '<dl>'}<dt>{line}</dt><dd>")
        self._in_list = True

    def break_line(self) -> None:
        """The next line begins a new one."""
        if self._paragraph:
            self._paragraph[-1] += "<br>"


def _body(lines: list[str]) -> Iterator[str]:
    body = _Body()
    rest = iter(lines)
    for line in rest:
        macro, _, argument = line.partition(" ")
        if macro in (".SH", ".SS"):
            body.close(list_too=True)
            title = _inline(argument)
            level = 2 if macro == ".SH" else 3
            body.lines.append(f'<h{level} id="{re.sub("[^a-z0-9]+", "-", title.lower())}">{title}</h{level}>')
        elif macro == ".PP":
            body.close(list_too=True)
        elif macro == ".IP":
            body.close()
        elif macro == ".TP":
            body.term(_inline(next(rest)))
        elif macro == ".br":
            body.break_line()
        elif macro == ".nf":
            body.close()
            kept = []
            for each in rest:
                if each == ".fi":
                    break
                kept.append(_inline(each))
            body.lines.append(f"<pre>{chr(10).join(kept)}</pre>")
        elif macro not in (".RS", ".RE"):
            body.add(_inline(line))
    body.close(list_too=True)
    return iter(body.lines)
