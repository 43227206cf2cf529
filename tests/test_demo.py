"""The demo shows what it promises, and fails when the daemon does not do it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def demo(project: Path, patience: str = "10") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PVEHOOKS_DEMO_PATIENCE": patience}
    return subprocess.run(["sh", "scripts/demo"], cwd=project, env=env, capture_output=True, text=True, timeout=60, check=False)


def leftovers() -> set[Path]:
    return set(Path("/tmp").glob("pvehooks-demo.*"))


def changed_copy(directory: Path, file: str, old: str, new: str) -> Path:
    for name in ("pvehooks", "scripts"):
        shutil.copytree(PROJECT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    text = (directory / file).read_text()
    assert old in text
    (directory / file).write_text(text.replace(old, new))
    return directory


def test_the_demo() -> None:
    before = leftovers()
    done = demo(PROJECT)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "\n   +rng0: source=/dev/urandom,max_bytes=1024,period=1000\n" in done.stdout
    assert "VM 100 (web): given rng0 source=/dev/urandom,max_bytes=1024,period=1000, because: no network boot" in done.stdout
    assert "VM 100 (web): rng0 source=/dev/urandom,max_bytes=1024,period=1000 was taken out" in done.stdout
    assert "VM 103 (games) is not started: hostpci0 (0000:01:00.0) shares IOMMU group 14 with 0000:02:00.0" in " ".join(done.stdout.split())
    assert "\x1b" not in done.stdout
    assert leftovers() == before


def test_the_demo_fails_without_an_rng0(tmp_path: Path) -> None:
    file = "pvehooks/settings/table.py"
    copy = changed_copy(tmp_path, file, "option(inject, warn, off, default=inject)", "option(inject, warn, off, default=warn)")
    before = leftovers()
    done = demo(copy, patience="2")
    assert done.returncode == 1, done.stdout
    assert "The demo failed: VM 100 got no rng0" in done.stderr
    assert leftovers() == before


def test_the_demo_fails_without_the_daemon(tmp_path: Path) -> None:
    copy = changed_copy(tmp_path, "pvehooks/daemon/main.py", "import argparse\n", "import no_such_module\n")
    done = demo(copy)
    assert done.returncode == 1, done.stdout
    assert "The demo failed: the daemon did not start" in done.stderr
    assert "No module named 'no_such_module'" in done.stderr
