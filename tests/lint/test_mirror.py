"""The tests lie as what they test does: tests/X/ is about pvehooks/X/, and its files of that name about that module."""

from __future__ import annotations

import pytest

from tests.lint.source import PACKAGE, PROJECT, files, label

TESTS = PROJECT / "tests"
# About more than a folder of the package, or about none of it.
OTHERS = {
    "beds": "stand-ins for the system",
    "bench": "measurements",
    "browser": "reports in a browser",
    "cluster": "several nodes at once",
    "docs": "the documents",
    "fuzz": "readers of what others write",
    "golden": "what programs print",
    "hookscript": "libexec/: stub, hookscript, uninstall",
    "kernel": "starts on an emulated machine",
    "lint": "the source",
    "node": "the installed package on a booted system",
}
# Data of tests, by the folder that holds it.
DATA = ("rules/examples", "rules/node/trees", "records/written-by-0.1.0", "kernel/inside", "node/inside")


def folders() -> list[str]:
    """The folders with test code, from tests/, parents included."""
    found = {path.parent.relative_to(TESTS) for path in files() if path.is_relative_to(TESTS) and path.suffix == ".py"}
    return sorted({str(each) for folder in found for each in (folder, *folder.parents)} - {"."})


@pytest.mark.parametrize("folder", folders())
def test_a_folder_is_named_as_what_it_tests(folder: str) -> None:
    if folder.split("/")[0] in OTHERS or folder.startswith(DATA):
        return
    assert (PACKAGE / folder).is_dir(), f"tests/{folder} is named as no folder of pvehooks/: move it, or say in OTHERS what it is about"


def test_the_others_are_there() -> None:
    there = {folder.split("/")[0] for folder in folders()} | {"golden"}
    assert set(OTHERS) <= there, "a line of OTHERS is about no folder"
    assert [name for name in OTHERS if (PACKAGE / name).exists()] == [], "the package has a folder of that name: tests/ mirrors it"


def test_every_folder_of_the_package_has_tests() -> None:
    """Folders directly below pvehooks/; what lies deeper may be tested with its parent."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    tested = {label(path).split("/")[1] for path in files() if path.is_relative_to(TESTS) and path.name.startswith("test_")}
    assert packages <= tested, packages - tested
