"""What each verb of the command line loads: a module that only another verb needs is time that each call of this one takes."""

from __future__ import annotations

import subprocess

import pytest

from tests.beds import boot, pci
from tests.beds.tree import make_fake_tree
from tests.lint.source import PROJECT

# Of the standard library and Debian; each takes 1 to 10 ms.
HEAVY = {"configobj", "dataclasses", "difflib", "inspect", "pkgutil", "rich", "subprocess", "tarfile", "textwrap", "typing"}
RULES = {"pvehooks.rules.guest.uefi", "pvehooks.rules.start.groups"}
# Each with what it needs the least; what one loads is there for the next.
VERBS = (
    ("--version", HEAVY | RULES | {"pvehooks.facts.hardware", "pvehooks.rules.engine", "pvehooks.settings.load"}),
    ("devices", HEAVY | RULES | {"pvehooks.rules.engine", "pvehooks.facts.nextboot"}),
    ("host groups", HEAVY | RULES | {"pvehooks.rules.engine", "pvehooks.facts.nextboot"}),
    ("host check", HEAVY | RULES | {"pvehooks.cli.next_boot", "pvehooks.facts.nextboot", "pvehooks.actions.host.edits"}),
    ("check 100", HEAVY | {"pvehooks.cli.target", "pvehooks.facts.nextboot"}),
    ("check", HEAVY | {"pvehooks.cli.target", "pvehooks.facts.nextboot"}),
    ("report --html", {"tarfile", "subprocess", "pvehooks.capture", "pvehooks.facts.nextboot", "pvehooks.report.fleet_html"}),
)
PROGRAM = """
import contextlib, io, sys
sys.path[:0] = [{project!r}, "/usr/lib/python3/dist-packages"]
from pvehooks.cli import main
for words in {verbs!r}:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = main.main(words)
    assert status == 0, (words, status)
    print(*sys.modules)
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The modules after each verb, all in one process; nothing is found, which would load what is to be done about it."""
    directory = tmp_path_factory.mktemp("node")
    files = {**boot.with_translation(boot.plant("")), **pci.plant("0000:01:00.0 class=020000 driver=igb group=1 net=eno1")}
    root = make_fake_tree(directory, {**files, "etc/pve/nodes/pve1/qemu-server/100.conf": "name: web\n"})
    verbs = [[*verb.split(), *(() if verb == "--version" else ("--root", str(root)))] for verb, _ in VERBS]
    verbs[-1][2:2] = [str(directory / "report.html")]
    command = ["/usr/bin/python3", "-IS", "-c", PROGRAM.format(project=str(PROJECT), verbs=verbs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return {verb: set(line.split()) for (verb, _), line in zip(VERBS, done.stdout.splitlines(), strict=True)}


@pytest.mark.parametrize(("verb", "forbidden"), VERBS, ids=[verb for verb, _ in VERBS])
def test_a_verb_loads_what_it_needs(verb: str, forbidden: set[str], loaded: dict[str, set[str]]) -> None:
    assert forbidden & loaded[verb] == set()
    assert "pvehooks.wording" in loaded[verb]
