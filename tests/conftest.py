"""What holds for all tests.

They run in a private mount namespace in which the checkout is read-only, and in the same environment whoever starts them. None may
skip. Texts are compared with golden files.

Tests that need something from outside of the checkout or of Debian say so with a marker; where it is absent they are left
out, and one line says so. With CI=true only ../shared/data may be absent.
"""

from __future__ import annotations

import difflib
import gc
import itertools
import os
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Generator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.beds.namespace import enter_private_namespace, is_private, make_read_only, mount

PROJECT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
SHARED_DATA = PROJECT.parent / "shared" / "data"
_PLENTY = 3 << 20  # KiB
_numbers = itertools.count()
# What tests see of the environment they are started in. A login shell's USER, LANG, COLUMNS, or a service manager's NOTIFY_SOCKET would
# reach the programs in them.
_INHERITED = re.compile(r"CI|HOME|PATH|TMPDIR|XDG_CACHE_HOME|\w+_proxy|(?:HYPOTHESIS|MYPY|PVEHOOKS|PYTEST|PYTHON|RUFF)\w*", re.IGNORECASE)
_ENVIRONMENT = {"COLUMNS": "80", "LINES": "24"}
# The files that take long, the longest first: a process that begins one of them last would keep all waiting for it.
_LONG = (
    "tests/lint/test_tools.py",
    "tests/daemon/test_injecting.py",
    "tests/daemon/test_stall.py",
    "tests/docs/test_contributing.py",
    "tests/docs/test_examples.py",
    "tests/lint/test_names.py",
    "tests/daemon/test_running.py",
    "tests/daemon/test_attaching.py",
    "tests/capture/test_same_findings.py",
    "tests/rules/test_remedies.py",
    "tests/daemon/test_watch.py",
    "tests/docs/test_drift.py",
    "tests/guard/test_starved.py",
    "tests/cli/commands/host/test_fix_node.py",
    "tests/formats/test_any_bytes.py",
    "tests/facts/boot/test_grubdefaults.py",
    "tests/cli/test_pictures.py",
    "tests/capture/test_secrets.py",
    "tests/docs/test_catalog.py",
    "tests/cli/commands/test_check.py",
    "tests/cli/commands/host/test_fix.py",
    "tests/daemon/test_baseline.py",
    "tests/test_beds_pmxcfs.py",
    "tests/rules/test_examples.py",
)
# These read the syntax tree of every file: one process parses them, once (tests/lint/source.py), and is given all of these tests together.
_OF_ALL_FILES = "tests/lint/test_[!t]*.py"


def pytest_configure(config: pytest.Config) -> None:
    """Enters the namespace before any test module is imported, so that none can meet the machine's own /etc/pve, /run, /var/lib.

    With pytest-xdist each worker gets one of its own, and the process that directs them none.
    """
    if os.geteuid() != 0:
        pytest.exit("the tests mount file systems in a mount namespace of their own: run them as root", returncode=3)
    # Whoever starts the tests in the background has these ignored, and so would all programs in them: sh(1), nohup(1).
    # pytest-xdist sometimes begins its work beside the main thread, where Python refuses that.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    worker = "PYTEST_XDIST_WORKER" in os.environ
    if worker and is_private():
        pytest.exit("pytest-xdist's workers would share a namespace: no conftest may enter one when it is imported", returncode=3)
    if worker or not config.getoption("numprocesses", None):
        for variable in [name for name in os.environ if not _INHERITED.fullmatch(name)]:
            del os.environ[variable]
        os.environ.update(_ENVIRONMENT)
        if not is_private():
            enter_private_namespace()
            make_read_only(PROJECT, *([GOLDEN] if config.getoption("--golden-update") else []))
        if not os.access("/proc/sys/user/max_inotify_watches", os.W_OK):
            # Containers have it read-only; tests write the limits of user namespaces of their own there.
            mount("proc", "/proc", "proc")
    if worker:
        _keep_files_in_memory(Path(config.option.basetemp).parent)
    # How long an example takes is no matter of the tests. CI has the same examples each time: new ones are looked for by hand, and by make fuzz.
    hypothesis.settings.register_profile("tests", deadline=None, derandomize="CI" in os.environ)
    hypothesis.settings.load_profile("tests")
    # Ten thousand tests are a million objects that stay: the collector would look at them again and again.
    gc.disable()


def _keep_files_in_memory(directory: Path) -> None:
    """In a run of all tests their files, some 150,000, never reach a disk, and go with the namespace: there, if memory is plenty.

    Whoever runs a test by itself finds them on disk.
    """
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    if any(words[0] == "MemAvailable:" and int(words[1]) >= _PLENTY for words in lines):
        mount("tmpfs", str(directory), "tmpfs", options="mode=0700")
    os.environ["TMPDIR"] = tempfile.tempdir = str(directory)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden-update", action="store_true", help="rewrite the golden files from what the tests see now")


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As pytest's own, which lists all that the thousands of tests before have left to find the next number."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    path = tmp_path_factory.getbasetemp() / f"{name}{next(_numbers)}"
    path.mkdir(mode=0o700)
    return path


# -- golden files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(name, text): fails with a diff unless the text is what tests/golden/NAME holds."""
    update = request.config.getoption("--golden-update")

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
            return
        expected = path.read_bytes().decode() if path.exists() else ""
        if text != expected or not path.exists():
            lines = difflib.unified_diff(expected.splitlines(), text.splitlines(), f"tests/golden/{name}", "now", lineterm="")
            pytest.fail("\n".join([*lines, "If that is as it should be: make golden"]), pytrace=False)

    return compare


# -- nothing is skipped -----------------------------------------------------------------------------------------------


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, Any, None]:
    """Makes a failure of a skip, an expected failure, and an unexpected success: first in, so last to see the report."""
    report = (yield).get_result()
    if report.skipped or hasattr(report, "wasxfail"):
        why = getattr(report, "wasxfail", "") or report.longrepr
        vars(report).pop("wasxfail", None)
        report.outcome = "failed"
        report.longrepr = f"no test of this project may skip or be expected to fail: {why}"


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, Any, None]:
    """The same for a module that skips itself."""
    report = (yield).get_result()
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"no test of this project may skip: {report.longrepr}"


# -- what is left out where something is absent -----------------------------------------------------------------------


def _absent() -> dict[str, str]:
    """Marker -> why its tests are left out."""
    absent = {}
    if not SHARED_DATA.is_dir():
        absent["shared_data"] = "../shared/data is not here"
    if "PVEHOOKS_RUFF" not in os.environ and not os.environ.get("CI"):
        absent["ruff"] = "ruff could not be had from PyPI: sh scripts/install-ruff shows why"
    if "PVEHOOKS_PROMTOOL" not in os.environ and not os.environ.get("CI"):
        absent["promtool"] = "promtool could not be had from Debian's mirror: sh scripts/install-promtool shows why"
    return absent


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For --dist loadfile: pytest-xdist's own, with the tests of all files taken for those of one file."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    scheduler = LoadFileScheduling(config, log)
    scheduler._split_scope = _unit
    return scheduler


def _unit(nodeid: str) -> str:
    """What is given to one process as a whole: a file."""
    file = nodeid.partition("::")[0]
    return _OF_ALL_FILES if fnmatch(file, _OF_ALL_FILES) else file


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    place = {file: number for number, file in enumerate(_LONG)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))
    for marker in _absent():
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker(marker)])
        items[:] = [item for item in items if not item.get_closest_marker(marker)]


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for marker, why in _absent().items():
        terminalreporter.write_line(f"left out: the tests marked {marker}: {why}")
