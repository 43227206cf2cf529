"""The HTML report in Chromium: on a phone, in the dark, on paper, for who does not see it; and that it loads and runs nothing.

PVEHOOKS_PICTURES=DIRECTORY keeps a picture of each page there.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beds.tree import make_fake_tree
from tests.browser.browser import Browser, browser
from tests.daemon.bed import uefi
from tests.report import bed, cluster_bed

PAGES = (*bed.NODES, "changed", "cluster")
SCREENS = [(360, False), (360, True), (800, False), (1400, True)]
_LIMIT = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (500 << 20,) * 2); from pvehooks.cli.main import main; sys.exit(main(sys.argv[1:]))"


def crowd(tree: Path) -> None:
    """5,000 guests, half of them with something to be said of, and 120 more groups."""
    kinds = (
        uefi("{}"),
        "name: {}\nhostpci0: 01:00\nbios: ovmf\nefidisk0: local-lvm:vm-1-disk-0,efitype=4m,size=4M\n",
        "name: {}\nboot: order=scsi0\nscsi0: local:1/vm.raw,size=1G\n",
        "name: {}\n",
    )
    make_fake_tree(tree, {f"{bed.CONFIGS}/{1000 + n}.conf": kinds[n % 4].replace("{}", f"guest-{n}") for n in range(5000)})


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The reports, by name."""
    directory = tmp_path_factory.mktemp("pages")
    found = {}
    trees = {name: bed.plant(name, directory / name) for name in bed.NODES}
    former = directory / "former.json"
    former.write_text(bed.report(trees["well"], "--json"))
    trees |= {"changed": trees["danger"], "crowded": bed.plant("danger", directory / "crowded")}
    crowd(trees["crowded"])
    trees["cluster"] = cluster_bed.plant(directory / "cluster")
    for name, tree in trees.items():
        found[name] = directory / f"{name}.html"
        since = ["--since", str(former)] if name == "changed" else ["--cluster"] if name == "cluster" else []
        command = ["/usr/bin/python3", "-c", _LIMIT, "report", "--root", str(tree), "--html", str(found[name]), *since]
        subprocess.run(command, cwd=bed.PROJECT, check=True, timeout=120)
    return found


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.mark.parametrize(("width", "dark"), SCREENS, ids=str)
@pytest.mark.parametrize("name", PAGES)
def test_on_a_screen(name: str, width: int, dark: bool, pages: dict[str, Path], chromium: Browser) -> None:
    """Nothing sticks out, everything can be read, nothing is loaded and nothing complained about; closed and with all opened."""
    for opened in (False, True):
        chromium.show(pages[name], width, dark, opened=opened)
        wide = chromium.wide()
        assert wide["width"] <= width and not wide["out"], wide
        assert not chromium.pale()
    assert chromium.complaints() == []
    assert {url for url in chromium.requests() if not url.startswith("data:,")} == {pages[name].as_uri()}
    if "PVEHOOKS_PICTURES" in os.environ:
        chromium.show(pages[name], width, dark, opened=False)
        Path(os.environ["PVEHOOKS_PICTURES"], f"{name}-{width}{'-dark' if dark else ''}.png").write_bytes(chromium.picture())


@pytest.mark.parametrize("name", PAGES)
def test_for_who_does_not_see_it(name: str, pages: dict[str, Path], chromium: Browser) -> None:
    chromium.show(pages[name], 360)
    assert chromium.nameless() == []
    roles = [role for role, _ in chromium.accessible()]
    assert {"main", "heading", "list"} <= set(roles) and (roles.count("main"), roles.count("contentinfo")) == (1, 1)
    levels = chromium.run("return [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(e => Number(e.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels
    assert chromium.run("return [document.documentElement.lang, document.title]")[0] == "en"
    small = "return [...document.querySelectorAll('summary, .map a, .filter label, .filter select')].map(e => e.getBoundingClientRect()).filter(r => r.height < 24 || r.width < 24)"
    assert chromium.run(small) == []


def test_the_danger_is_reported_in_words(pages: dict[str, Path], chromium: Browser) -> None:
    """The map tells in the names of its links what its colours and forms tell."""
    chromium.show(pages["danger"])
    names = [name for role, name in chromium.accessible() if role == "link"]
    assert "Group 2, in danger: 2 named, 1 host" in names and "Group 19, used by a VM or container: 1 in use" in names


def test_what_is_closed_opens_by_key(pages: dict[str, Path], chromium: Browser) -> None:
    chromium.show(pages["danger"], opened=False)
    closed = "details:not([open]) > summary"
    before = chromium.run(f"return document.querySelectorAll('{closed}').length")
    assert before > 1
    for number, key in enumerate(("Enter", " "), 1):
        chromium.press(closed, key)
        assert chromium.run(f"return document.querySelectorAll('{closed}').length") == before - number


@pytest.mark.parametrize("name", ["danger", "hostile", "cluster"])
def test_nothing_runs(name: str, pages: dict[str, Path], chromium: Browser) -> None:
    chromium.show(pages[name])
    assert chromium.run("return [document.scripts.length, document.images.length, frames.length]") == [0, 0, 0]
    before = chromium.run("return document.body.innerHTML.length")
    # Also what would have got past the escaping.
    chromium.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.body.remove()\"><p style=\"color:red\">x</p>')"
    )
    chromium.run("document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.body.remove()'}))")
    assert chromium.run("return document.body.innerHTML.length") > before
    blocked = [message for message in chromium.complaints() if "Content Security Policy" in message]
    assert len(blocked) >= 3, "image, style and script are each refused"
    assert not [url for url in chromium.requests() if not url.startswith(("file:", "data:"))]


def text_of(paper: Path, *arguments: str) -> str:
    command = ["pdftotext", *arguments, str(paper), "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def on_paper(paper: Path) -> list[tuple[float, float]]:
    """(height, lowest end of a word) of each page, in points."""
    pages = text_of(paper, "-bbox").split("<page ")[1:]
    return [(float(re.findall(r'height="([\d.]+)"', page)[0]), max(map(float, re.findall(r'yMax="([\d.]+)"', page)))) for page in pages]


def headings(chromium: Browser) -> set[str]:
    """The words of each heading of the page that is shown, also of the line that ends one."""
    script = "return [...document.querySelectorAll('h1, h2, h3, .tail, summary')].map(e => e.innerText)"
    return {" ".join(words.split()) for words in chromium.run(script)} - {""}


def ended_by(known: set[str], paper: Path) -> list[tuple[int, str]]:
    """The headings that are the last words of a page, or of a column of one, with its number."""
    found = []
    for left in (0, 298):
        columns = text_of(paper, "-x", str(left), "-y", "0", "-W", "297", "-H", "842").split("\f")
        for number, column in enumerate(columns[:-1], 1):
            lines = [" ".join(line.split()) for line in column.splitlines() if line.strip()]
            found += [(number, last) for count in range(1, 7) if (last := " ".join(lines[-count:])) in known]
    return found


@pytest.mark.parametrize("name", ["home", "changed"])
def test_no_heading_ends_a_page(name: str, pages: dict[str, Path], chromium: Browser, tmp_path: Path) -> None:
    """Nor a column of one, wherever the pages are broken; no page but the last is half empty; 17 VMs need no more than six."""
    chromium.show(pages[name], opened=True)
    known = headings(chromium)
    assert len(known) > 10
    chromium.show(pages[name], opened=False)
    paper = tmp_path / "page.pdf"
    for down in range(0, 700, 70):
        chromium.run(f"document.querySelector('.over').style.paddingTop = '{down}px'")
        paper.write_bytes(chromium.printed())
        assert not ended_by(known, paper), down
        if not down:
            sheets = on_paper(paper)
            assert len(sheets) <= (6 if name == "home" else 7), len(sheets)
            assert all(lowest > height * 0.6 for height, lowest in sheets[:-1]), sheets


def test_a_heading_that_ends_a_page_is_noticed(chromium: Browser, tmp_path: Path) -> None:
    page, paper = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text("<!DOCTYPE html><title>x</title><p>a</p><h2>A heading alone</h2><p style='break-before:page'>b</p>")
    chromium.show(page)
    paper.write_bytes(chromium.printed())
    assert ended_by(headings(chromium), paper) == [(1, "A heading alone")] and len(on_paper(paper)) == 2


@pytest.mark.parametrize("name", ["changed", "no-iommu", "cluster"])
def test_on_paper(name: str, pages: dict[str, Path], chromium: Browser, tmp_path: Path) -> None:
    """All of it is on paper, also what is closed on the screen, dark on white whatever the screen is like."""
    chromium.show(pages[name], dark=True, opened=True)
    words = set(re.findall(r"[a-z]{4,}", chromium.run("return document.querySelector('main').innerText").lower()))
    chromium.show(pages[name], dark=True, opened=False)
    paper = tmp_path / "page.pdf"
    paper.write_bytes(chromium.printed())
    text = subprocess.run(["pdftotext", "-layout", str(paper), "-"], capture_output=True, text=True, check=True).stdout
    missing = words - set(re.findall(r"[a-z]{4,}", text.lower()))
    assert len(missing) < len(words) / 50, missing
    assert 2 <= len(on_paper(paper)) <= 8
    chromium.show(pages[name], dark=True, media="print")
    assert chromium.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not chromium.pale()


SHOWN = "return [...document.querySelectorAll('{}')].filter(e => e.checkVisibility()).length"


def test_the_filter_works_by_key(pages: dict[str, Path], chromium: Browser) -> None:
    chromium.show(pages["home"], opened=False)
    everything = chromium.run(SHOWN.format(".rule"))
    assert chromium.run(SHOWN.format(".rule.info")) > 0 and chromium.run(SHOWN.format(".shown")) == 0
    chromium.press("#least-all", "ArrowDown")
    assert chromium.run("return document.activeElement.id") == "least-warning"
    assert chromium.run(SHOWN.format(".rule.info")) == 0 and 1 < chromium.run(SHOWN.format(".rule")) < everything
    chromium.press("#least-warning", "ArrowDown")
    assert chromium.run(SHOWN.format(".rule:not(.danger)")) == 0 == chromium.run(SHOWN.format(".guests > li:not(.danger)"))
    assert chromium.run(SHOWN.format(".rule")) == 1 and chromium.run(SHOWN.format(".guests > li")) == 2
    shown = chromium.run(
        "return getComputedStyle(document.querySelector('.shown'), '::before').content + document.querySelector('.shown').innerText"
    )
    assert shown.startswith("counter(rules)") and "kinds of findings shown" in shown
    assert chromium.run(SHOWN.format(".fine")) == 0, "VMs with nothing found are none of those"
    chromium.press(".filter button", "Enter")
    assert chromium.run(SHOWN.format(".rule")) == everything and chromium.run(SHOWN.format(".shown")) == 0


def test_one_vm_is_chosen_by_key(pages: dict[str, Path], chromium: Browser) -> None:
    chromium.show(pages["home"], opened=False)
    for number, vmid in ((1, 102), (2, 103)):
        chromium.press("#by-vm", "ArrowDown")
        assert chromium.run("return document.querySelector('#by-vm').selectedIndex") == number
        assert chromium.run("return document.querySelector('#by-vm').selectedOptions[0].text").startswith(f"VM {vmid} ")
        shown = "[...document.querySelectorAll('{}')].filter(e => e.checkVisibility())"
        assert chromium.run(f"return {shown.format('.guests > li')}.map(e => e.querySelector('[id]').id)") == [f"vm{vmid}"]
        lines = chromium.run(f"return {shown.format('.rule[open] .found > li')}.map(e => e.innerText)")
        assert lines and all(f"VM {vmid} " in line for line in lines)
    rules = set(chromium.run(f"return {shown.format('.rule')}.map(e => e.id)"))
    assert rules == {"group-in-use-by-host", "guard-not-attached"}


def test_one_kind_of_device_is_chosen_by_key(pages: dict[str, Path], chromium: Browser, tmp_path: Path) -> None:
    chromium.show(pages["danger"], opened=False)
    everything = chromium.run(SHOWN.format(".who-has tbody tr"))
    chromium.press("#by-kind", "ArrowDown")
    assert chromium.run("return document.querySelector('#by-kind').selectedOptions[0].text") == "graphics and sound"
    shown = "return [...document.querySelectorAll('.who-has tbody tr')].filter(e => e.checkVisibility()).map(e => e.innerText)"
    names = chromium.run(shown)
    assert len(names) == 3 < everything and all("NVIDIA" in name or "graphics card" in name for name in names)
    assert chromium.run(SHOWN.format(".shown")) == 0, "the findings are all there"
    paper = tmp_path / "page.pdf"
    paper.write_bytes(chromium.printed())
    table = text_of(paper).partition("IOMMU groups")[0]
    assert "0000:02:00.0" in table and "0000:01:00.0" in table, "paper has all of them"


def test_a_click_selects_the_whole_command(pages: dict[str, Path], chromium: Browser) -> None:
    chromium.show(pages["home"], opened=False)
    chromium.run("const c = document.querySelector('.todo .cmd'); getSelection().selectAllChildren(c)")
    assert chromium.run("return getSelection().toString().trim()") == "qm set 102 --delete hostpci0"
    styles = chromium.run("return [...document.querySelectorAll('.todo code')].map(e => getComputedStyle(e).fontFamily)")
    assert len(styles) > 5 and all("mono" in family for family in styles)
    assert chromium.run("return getComputedStyle(document.querySelector('.cmd')).userSelect") == "all"


def test_thousands_of_guests(pages: dict[str, Path], chromium: Browser) -> None:
    began = time.monotonic()
    chromium.show(pages["crowded"], 360, opened=False)
    assert chromium.run("return document.querySelectorAll('.guests [id^=vm]').length") > 3000
    wide = chromium.wide()
    assert wide["width"] <= 360 and not wide["out"], wide["out"][:5]
    assert chromium.complaints() == [] and time.monotonic() - began < 60
    assert pages["crowded"].stat().st_size < 8_000_000


FAULTY = """<!DOCTYPE html><title>x</title><body><p style="color:#999">pale</p><p style="width:2000px">wide</p><a href="#x"></a>
<svg class="i" width="9" height="9" style="fill:#eee"></svg><img src="https://host.invalid/x.png"><script>console.error("trouble")</script>"""


def test_the_checks_see_what_is_wrong(chromium: Browser, tmp_path: Path) -> None:
    page = tmp_path / "faulty.html"
    page.write_text(FAULTY)
    chromium.show(page, 360)
    assert chromium.wide()["width"] >= 2000 and len(chromium.wide()["out"]) >= 1
    assert sorted(each["least"] for each in chromium.pale()) == [3, 4.5]
    assert {role for role, _ in chromium.nameless()} == {"link", "image"}
    assert any("trouble" in message for message in chromium.complaints())
    assert "https://host.invalid/x.png" in chromium.requests()
    assert chromium.run("return document.scripts.length") == 1
