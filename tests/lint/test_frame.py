"""The frame: no test can skip, golden files are compared, the package is built whole, the Makefile explains itself."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.lint.source import PACKAGE, PROJECT, label, nodes, python_files

SKIPPERS = """\
import pytest
@pytest.mark.skip(reason="lazy")
def test_marked(): pass
def test_calls(): pytest.skip("lazy")
@pytest.mark.xfail(reason="lazy")
def test_expected_to_fail(): assert False
@pytest.mark.xfail(reason="lazy", strict=False)
def test_fails_to_fail(): pass
@pytest.fixture
def lazy(): pytest.skip("lazy")
def test_in_a_fixture(lazy): pass
@pytest.mark.parametrize("value", [])
def test_of_nothing(value): pass
def test_good(): pass
"""


def run_pytest(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with the project's conftest and settings on the tests in a directory."""
    shutil.copy(PROJECT / "tests/conftest.py", directory)
    settings = (PROJECT / "pyproject.toml").read_text().partition("[tool.pytest.ini_options]")[2]
    (directory / "pyproject.toml").write_text(f"[tool.pytest.ini_options]{settings}")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments, str(directory)]
    inherited = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith(("PVEHOOKS_", "PYTEST_"))}
    env = {**inherited, "PYTHONPATH": str(PROJECT), **environment}
    return subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_skip_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "test_lazy.py").write_text(SKIPPERS)
    done = run_pytest(tmp_path)
    assert "3 failed, 1 passed, 3 errors in" in done.stdout, done.stdout
    assert done.returncode == 1


def test_a_module_that_skips_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_lazy.py").write_text("import pytest\npytest.importorskip('no_such_module')\ndef test_it(): pass\n")
    done = run_pytest(tmp_path)
    assert "1 error in" in done.stdout, done.stdout
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("marker", "environment", "reported"),
    [
        pytest.param("shared_data", {"CI": "true"}, "left out: the tests marked shared_data: ../shared/data is not here", id="data"),
        pytest.param("ruff", {}, "left out: the tests marked ruff: ruff could not be had from PyPI", id="ruff"),
        pytest.param("ruff", {"CI": "true"}, "3 passed", id="ruff must be there in CI"),
    ],
)
def test_what_is_left_out_is_reported(tmp_path: Path, marker: str, environment: dict[str, str], reported: str) -> None:
    marked = f"@pytest.mark.{marker}\n@pytest.mark.parametrize('n', [1, 2])\ndef test_marked(n): pass\n"
    (tmp_path / "test_it.py").write_text(f"import pytest\n{marked}def test_it(): pass\n")
    done = run_pytest(tmp_path, **environment)
    assert reported in done.stdout, done.stdout
    assert done.returncode == 0


def test_the_environment_is_always_the_same(tmp_path: Path) -> None:
    lines = "import json, os, pathlib", "def test_it(): pathlib.Path('seen').write_text(json.dumps(dict(os.environ)))"
    (tmp_path / "test_it.py").write_text("\n".join(lines))
    done = run_pytest(tmp_path, USER="root", LOGNAME="root", COLUMNS="170", NOTIFY_SOCKET="@x", LC_ALL="de_DE.UTF-8")
    assert done.returncode == 0, done.stdout
    seen = json.loads((tmp_path / "seen").read_text())
    assert (seen["COLUMNS"], "PATH" in seen) == ("80", True)
    assert not {"USER", "LOGNAME", "NOTIFY_SOCKET", "LC_ALL"} & set(seen)


@pytest.mark.parametrize("directory", [PROJECT, PROJECT / "tests/lint", Path(), Path("tests")], ids=str)
def test_the_checkout_is_read_only(directory: Path) -> None:
    """So no test leaves a file in it."""
    assert os.path.samefile(directory, PROJECT / directory)
    assert not os.access(directory, os.W_OK)


def test_golden_files(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(golden): golden('a/one.txt', 'first\\nsecond\\n')\n")
    assert "+second" in run_pytest(tmp_path).stdout
    assert run_pytest(tmp_path, "--golden-update").returncode == 0
    assert (tmp_path / "golden/a/one.txt").read_text() == "first\nsecond\n"
    assert run_pytest(tmp_path).returncode == 0
    (tmp_path / "golden/a/one.txt").write_text("first\nother\n")
    done = run_pytest(tmp_path)
    assert "-other" in done.stdout and "+second" in done.stdout and done.returncode == 1


def setup_py(copy: Path, *arguments: str) -> None:
    command = [sys.executable, "setup.py", "--quiet", *arguments]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_is_built_whole(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    left = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "build", "*.egg-info")
    shutil.copytree(PROJECT, copy, symlinks=True, ignore=left)
    setup_py(copy, "build", "--build-lib", str(tmp_path / "lib"), "sdist", "--dist-dir", str(tmp_path))
    ours = {label(path) for path in python_files(PACKAGE)}
    assert {str(path.relative_to(tmp_path / "lib")) for path in (tmp_path / "lib").rglob("*.py")} == ours
    (archive,) = tmp_path.glob("pvehooks-*.tar.gz")
    with tarfile.open(archive) as tar:
        inside = {name.partition("/")[2] for name in tar.getnames()}
    wanted = {"setup.py", "README.md", "LICENSE", "etc/pvehooks.conf", "systemd/pvehooks.service", "scripts/test", "tests/conftest.py"}
    assert ours | wanted <= inside, (ours | wanted) - inside


def test_make_help_lists_every_target() -> None:
    text = (PROJECT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):", text, re.MULTILINE)
    assert sorted(re.findall(r"^([a-z-]+):.*## \S", text, re.MULTILINE)) == sorted(targets)
    assert sorted(text.partition(".PHONY: ")[2].splitlines()[0].split()) == sorted(targets)


def test_no_test_waits_for_its_child_after_a_failure() -> None:
    """`with Popen(...)` alone waits for the child, however long that sleeps: tests.beds.process kills it first."""
    found = []
    for path in python_files(PROJECT / "tests"):
        items = (item for node in nodes(path) if isinstance(node, ast.With) for item in node.items)
        calls = [item.context_expr for item in items if isinstance(item.context_expr, ast.Call)]
        found += [f"{label(path)}:{call.lineno}" for call in calls if ast.unparse(call.func).endswith("Popen")]
    assert [place for place in found if not place.startswith("tests/beds/process.py:")] == [], "with kill_on_failure(subprocess.Popen(...))"
