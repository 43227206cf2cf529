"""Where a report goes: files, their modes and owners, standard output; and the state that a real node keeps."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvehooks.cli.main import main
from tests.beds.pmxcfs import Pmxcfs
from tests.report import bed

STATE = Path("/var/lib/pvehooks/report.json")
CONFIG = "nodes/pve1/qemu-server/100.conf"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bed.plant("empty", tmp_path_factory.mktemp("empty") / "tree")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_for_its_owner_only(tree: Path, tmp_path: Path) -> None:
    page, text = tmp_path / "a.html", tmp_path / "a.md"
    shown = bed.report(tree, "--html", str(page), "--markdown", str(text), "--json")
    assert json.loads(shown)["version"] == 2, "the files beside it say nothing"
    assert page.read_text().startswith("<!DOCTYPE html>") and text.read_text().startswith("# pve1: ")
    assert (mode(page), mode(text)) == (0o600, 0o600)
    assert sorted(tmp_path.iterdir()) == [page, text], "nothing else is left"


def test_a_file_of_ours_keeps_mode_and_group(tree: Path, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text("old")
    os.chown(page, -1, 33)
    page.chmod(0o664)
    link = tmp_path / "link.html"
    link.symlink_to(page)
    bed.report(tree, "--html", str(link))
    assert page.read_text() != "old" and link.is_symlink()
    assert (mode(page), page.stat().st_gid) == (0o664, 33)


def test_a_file_of_another_user_is_not_filled(tree: Path, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text("old")
    page.chmod(0o666)
    os.chown(page, 1000, 1000)
    bed.report(tree, "--html", str(page))
    assert (mode(page), page.stat().st_uid) == (0o600, 0)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--html", "{}/pipe"], 2, "pipe is no regular file"),
        (["--html", "{}/null"], 2, "null is no regular file"),
        (["--markdown", "{}"], 2, "is no regular file"),
        (["--html", "{}/absent/a.html"], 3, "absent/a.html: No such file or directory"),
        (["--html", "{}/pipe/a.html"], 3, "Not a directory"),
        (["--html", "-", "--json"], 2, "html and json cannot go to one place"),
        (["--html", "{}/a", "--markdown", "{}/./a"], 2, "html and markdown cannot go to one place"),
        (["--html", "--json"], 2, "html and json cannot go to one place"),
        (["100"], 2, "'100' is one argument too many"),
    ],
)
def test_wrong_use(arguments: list[str], status: int, words: str, tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mknod(tmp_path / "null", 0o20666, os.makedev(1, 3))
    assert words in bed.report(tree, *(each.format(tmp_path) for each in arguments), status=status)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["null", "pipe"] and (tmp_path / "null").is_char_device()


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("mode", "readers"), [(None, "only root"), (0o600, "only root"), (0o640, "root and the file's group"), (0o644, "every user")], ids=str
)
def test_a_terminal_shows_where_it_went(
    mode: int | None, readers: str, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "a b.html"
    if mode is not None:
        page.touch()
        page.chmod(mode)
    output, errors = Terminal(), Terminal()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        assert main(["report", "--html", str(page), "--json", "--root", str(tree)]) == 0
    assert errors.getvalue() == f"Written: {page} ({readers} can read it; it names VMs and devices).\n"
    assert json.loads(output.getvalue()), "nothing of it is in what is piped on"


def test_a_page_without_a_name(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets a file, and is told where it is; a pipe gets the page."""
    monkeypatch.chdir(tmp_path)
    assert bed.report(tree, "--html").startswith("<!DOCTYPE html>") and not list(tmp_path.iterdir())
    output, errors = Terminal(), Terminal()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        assert main(["report", "--html", "--root", str(tree)]) == 0
    page = tmp_path / "pvehooks-report.html"
    assert page.read_text().startswith("<!DOCTYPE html>") and mode(page) == 0o600 and output.getvalue() == ""
    assert errors.getvalue() == f"Written: {page} (only root can read it; it names VMs and devices).\n"


def test_nothing_is_shown_without_a_terminal_or_a_file(tree: Path, tmp_path: Path) -> None:
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        bed.report(tree, "--html", str(tmp_path / "a.html"))
    assert errors.getvalue() == ""
    output, terminal = Terminal(), Terminal()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(terminal):
        assert main(["report", "--html", "-", "--root", str(tree)]) == 0
    assert terminal.getvalue() == "" and output.getvalue().startswith("<!DOCTYPE")


def test_a_full_disk_leaves_the_old_file(tree: Path, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text("old")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    program = f"{limit}; from pvehooks.cli.main import main; sys.exit(main({['report', '--html', str(page), '--root', str(tree)]!r}))"
    # -B: what Python compiled would be cut off like the page, and stay so for all that comes after.
    command = [sys.executable, "-B", "-c", f"import sys; {program}"]
    done = subprocess.run(command, cwd=bed.PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "File too large" in done.stderr
    assert page.read_text() == "old" and list(tmp_path.iterdir()) == [page]


# -- a real node ------------------------------------------------------------------------------------------------------


@pytest.fixture
def node() -> Iterator[Pmxcfs]:
    STATE.unlink(missing_ok=True)
    with Pmxcfs(
        files={CONFIG: "name: web\nmemory: 512\n", "nodes/pve2/qemu-server/200.conf": "name: away\n"}, members=["pve1", "pve2"]
    ) as pve:
        yield pve
    STATE.unlink(missing_ok=True)


def test_a_written_report_is_what_the_next_one_is_compared_with(node: Pmxcfs, tmp_path: Path) -> None:
    page = str(tmp_path / "a.html")
    bed.report("")
    bed.report("", "--json")
    assert not STATE.exists(), "what is only shown is not kept"
    bed.report("", "--html", page)
    assert mode(STATE) == 0o600
    (node.mountpoint / "nodes/pve1/qemu-server/101.conf").write_text("name: fresh\n")
    for _ in range(2):
        assert "new VM: VM 101 (fresh)" in bed.report("").replace("**", "")
    former = tmp_path / "former.json"
    former.write_text(bed.report("", "--json"))
    before = STATE.read_bytes()
    bed.report("", "--html", page, "--since", str(former))
    bed.report("", "--html", page, "--node", "pve2")
    bed.report(bed.plant("empty", tmp_path / "tree"), "--html", page)
    assert STATE.read_bytes() == before
    bed.report("", "--markdown", str(tmp_path / "a.md"))
    assert STATE.read_bytes() != before and "Nothing." in bed.report("")


def test_how_to_fetch_it(node: Pmxcfs, tmp_path: Path) -> None:
    errors = Terminal()
    with contextlib.redirect_stderr(errors):
        assert main(["report", "--html", str(tmp_path / "a b.html")]) == 0
    assert errors.getvalue().endswith(f" To fetch it, on your computer: scp root@pve1:'{tmp_path}/a b.html' .\n")


def test_another_node_has_no_hardware_here(node: Pmxcfs, tmp_path: Path) -> None:
    bed.report("", "--html", str(tmp_path / "a.html"))
    found = json.loads(bed.report("", "--json", "--node", "pve2"))
    assert found["groups"] is None and found["changes"] is None and [each["vmid"] for each in found["guests"]] == [200]


def test_that_it_cannot_be_kept_is_reported(node: Pmxcfs, tmp_path: Path) -> None:
    STATE.mkdir()
    try:
        shown = bed.report("", "--html", str(tmp_path / "a.html"))
        assert "pvehooks: this report is not kept for the next one's comparison" in shown
        assert "The last report cannot be read" in (tmp_path / "a.html").read_text()
    finally:
        STATE.rmdir()
