"""Names, lines of configs, device names and mount points are written by others: none of it becomes markup, a link or a control character."""

from __future__ import annotations

import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pvehooks.report import html, markdown
from pvehooks.report.content import DiffLine, Fact, GuestSeen, Report, ReportDiff, RuleText
from pvehooks.report.markup import Markup, join, tag
from pvehooks.values import Finding, Iommu, Judged, Severity
from pvehooks.values.guests import guest_label
from pvehooks.wording import printable
from tests.report import bed

# Names as people who mean harm would have them; PVE's own parser drops a line `name:` with most of them.
NAMES = [
    *bed.HOSTILE_NAMES.values(),
    "\udcff\udcfe",
    "|",
    "``",
    "` ",
    "a\nb",
    "# a",
    "- a\n\n# b",
    "&amp;",
    "![x](http://a.example/)",
    "_a_ *b*",
    "$x$",
]
ANY = st.one_of(
    st.sampled_from(NAMES),
    # A remedy with the VM's own number is not shared with the node.
    st.text(max_size=40).filter(lambda name: "100" not in name),
    st.text(alphabet="`|*_[]()<>&\\#!~:/.w \n\t\u202e\u0000", max_size=20),
)


def report(name: str) -> Report:
    """A report in which everything that others write is `name`."""
    findings = tuple(
        Judged(Finding(name, f"it has {name} in it", f"Take {name} out", severity, rule), ignored)
        for severity, rule, ignored in ((Severity.BLOCK, "rule-a", ""), (Severity.WARNING, "rule-b", name), (Severity.INFO, "rule-c", ""))
    )
    guests = (GuestSeen(100, name, True, False, "block", findings), GuestSeen(101, name, False, True, "allow", ()))
    unread = Judged(Finding("x", f"not examined: {name}", "", Severity.INFO, "rule-a", examined=False), "")
    return Report(
        pvehooks="1.0",
        node="pve1",
        time=1_800_000_000,
        facts=(Fact("kernel", f"6.8 {name}"), Fact("boot", None, name)),
        iommu=Iommu(False, f"because {name}", "", None, False),
        groups=(),
        guests=guests,
        of_node=(*findings, unread),
        rules={"rule-a": RuleText("rule-a", "It is so.\n\nBecause.\nSource: a book.", "Fix it", False)},
        changes=ReportDiff(1_700_000_000, (DiffLine("guest", "new", name, name), DiffLine("finding", "gone", name, "", True))),
    )


class Reader(HTMLParser):
    """What a browser would take the text for: elements with their attributes, and the text of each."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.shape: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.shape.append((tag, tuple(name for name, _ in attributes)))
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        self.shape.append((f"/{tag}", ()))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def harmless(text: str) -> None:
    """Nothing in it moves a cursor, hides, or turns the direction of writing."""
    bad = {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char != "\n"}
    assert not bad


@settings(max_examples=120)
@given(ANY)
def test_a_name_is_text_in_html(name: str) -> None:
    page = html.page(report(name))
    harmless(page)
    page.encode()
    found, plain = read(page), read(html.page(report("a")))
    if name:
        assert found.shape == plain.shape
        assert guest_label(100, printable(name)) in found.words


@pytest.mark.parametrize("name", NAMES)
def test_what_html_holds(name: str) -> None:
    found = read(html.page(report(name)))
    allowed = set(
        "html head meta link title style body svg symbol path use div main header footer nav section article details summary".split()
    )
    allowed |= set(
        "h1 h2 h3 p ul li dl dt dd a b bdi code span time form fieldset legend label input select option button table thead tbody tr th td".split()
    )
    assert {tag.lstrip("/") for tag, _ in found.shape} <= allowed
    for tag_name, attribute, value in found.attributes:
        assert not attribute.startswith("on") and attribute not in ("style", "src", "srcset", "action"), (tag_name, attribute)
        if attribute == "href":
            assert value == "data:," or re.fullmatch(r"#[\w-]+", value), value
    anchors = {value for _, attribute, value in found.attributes if attribute == "id"}
    assert {value[1:] for _, attribute, value in found.attributes if attribute == "href" and value[0] == "#"} <= anchors
    assert len(anchors) == sum(attribute == "id" for _, attribute, _ in found.attributes), "ids are unique"


def tokens(text: str) -> list[str]:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return [
        each.type for token in parser.parse(text) for each in (token, *(token.children or ())) if each.type not in ("text", "code_inline")
    ]


@settings(max_examples=120)
@given(ANY.filter(lambda name: printable(name).strip(" ") != ""))
def test_a_name_is_text_in_markdown(name: str) -> None:
    text = markdown.page(report(name))
    harmless(text)
    text.encode()
    found = tokens(text)
    assert not {"html_inline", "html_block", "link_open", "image", "softbreak"} & set(found)
    assert [each for each in found if each != "text_special"] == [
        each for each in tokens(markdown.page(report("a"))) if each != "text_special"
    ]


@given(ANY)
def test_markdown_shows_what_was_written(name: str) -> None:
    parser = MarkdownIt("commonmark")
    shown = "".join(each.content for token in parser.parse(f"x{markdown.text(name)}x") for each in token.children or ())
    assert shown == f"x{printable(name).lstrip(' ')}x"
    if printable(name).strip(" "):
        assert [each.content for token in parser.parse(f"x{markdown.code(name)}") for each in token.children or ()][1] == printable(name)


def test_links_are_not_made_of_addresses() -> None:
    assert markdown.text("see https://a.example/ and www.b.example") == "see https\\://a.example/ and www\\.b.example"


@pytest.mark.parametrize("form", [["--html", "-"], ["--markdown"], ["--summary"], ["--json"]], ids=" ".join)
def test_a_hostile_node(form: list[str], tmp_path: Path) -> None:
    text = bed.report(bed.plant("hostile", tmp_path / "tree"), *form)
    harmless(text)
    assert "alert(1)" in text or form == ["--summary"], "what stands in the configs is told; a summary has VMIDs in place of many names"
    assert not re.search(r"<(script|img|svg/)", text) or form in (["--json"], ["--summary"])


def test_markup() -> None:
    assert tag("p", "a<b>&\"'", class_='"><x', hidden=True, title=None) == '<p class="&quot;&gt;&lt;x" hidden>a&lt;b&gt;&amp;"\'</p>'
    assert tag("p", tag("b", "x"), None, ["y", tag("br")], aria_label=7) == '<p aria-label="7"><b>x</b>y<br></p>'
    assert join(Markup("<i>") + "<") == "&lt;i&gt;&lt;", "put together with text, markup is text"
