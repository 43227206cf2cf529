"""The guard with a damaged package, or without one."""

from __future__ import annotations

import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guard import bed
from tests.guard.bed import KNOWN


def program_of(package: Path, directory: Path) -> list[str]:
    """The guard's program as installed, with its package elsewhere."""
    copy = directory / "guard"
    copy.write_text((bed.PROJECT / "libexec/guard").read_text().replace("/usr/lib/python3/dist-packages", str(package)))
    return ["/usr/bin/python3", "-IS", str(copy), "100", "pre-start"]


def damaged(directory: Path, module: str, content: str) -> list[str]:
    """The guard with one module of its package changed."""
    shutil.copytree(bed.PROJECT / "pvehooks", directory / "lib/pvehooks", ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "lib/pvehooks" / module).write_text(content)
    return program_of(directory / "lib", directory)


@pytest.mark.parametrize(
    ("module", "content", "status", "words"),
    [
        # At the top: nothing of the guard is there.
        ("guard/main.py", "raise NameError('x')\n", 0, "pvehooks: the guard is not there (NameError: x): VM 100 starts without it\n"),
        ("__init__.py", "1 +\n", 0, "pvehooks: the guard is not there (SyntaxError: "),
        # In what supervises, examines or only counts: a known start goes on.
        ("guard/supervise.py", "", 0, KNOWN),
        ("guard/start.py", "raise AttributeError\n", 0, KNOWN),
        ("guard/counters.py", "raise NameError\n", 0, KNOWN),
        # In what the comparison stands on.
        ("values/guests.py", "raise NameError\n", 1, "pvehooks:   The guard seems to be damaged: apt install --reinstall pvehooks."),
    ],
)
def test_a_damaged_module(module: str, content: str, status: int, words: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path / "tree")
    assert bed.start(root).status == 0
    line = damaged(tmp_path, module, content)
    done = subprocess.run([*line, "--root", str(root)], env=bed.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (status, "") and words in done.stdout, done


@pytest.mark.parametrize(
    "module", ["guard/main", "guard/supervise", "values/__init__", "facts/guests/configs", "rules/engine", "rules/start/groups"]
)
def test_a_damaged_compiled_file(module: str, tmp_path: Path) -> None:
    """As a power loss leaves it while a package is unpacked: the sources are there."""
    root = bed.node(tmp_path / "tree")
    assert bed.start(root).status == 0
    line = damaged(tmp_path, "__init__.py", (bed.PROJECT / "pvehooks/__init__.py").read_text())
    source = tmp_path / f"lib/pvehooks/{module}.py"
    compiled = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(source), str(compiled), doraise=True)
    compiled.write_bytes(compiled.read_bytes()[:100])
    done = subprocess.run([*line, "--root", str(root)], env=bed.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout in ("", KNOWN) or done.stdout.endswith(KNOWN), done


def test_a_file_of_rules_is_gone(tmp_path: Path) -> None:
    """A start is not judged by those that are left: what is known goes on, all else is refused."""
    root = bed.node(tmp_path / "tree", hostpci=bed.SHARED_WITH_PORT)
    line = damaged(tmp_path, "__init__.py", (bed.PROJECT / "pvehooks/__init__.py").read_text())
    (tmp_path / "lib/pvehooks/rules/start/groups.py").unlink()
    done = subprocess.run([*line, "--root", str(root)], env=bed.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "the package is damaged, its rules/start lacks groups" in done.stdout


def test_the_program_without_its_package(tmp_path: Path) -> None:
    """While the package is being installed or removed, the guard is as good as absent: the guest starts."""
    line = program_of(tmp_path, tmp_path)
    done = subprocess.run(line, env=bed.environment(), capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "pvehooks: the guard is not there (No module named 'pvehooks'): VM 100 starts without it\n"
    line = program_of(bed.PROJECT, tmp_path)
    root = bed.node(tmp_path / "tree", hostpci=bed.SHARED_WITH_PORT)
    done = subprocess.run([*line, "--root", str(root)], env=bed.environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and "[group-in-use-by-host]" in done.stdout
