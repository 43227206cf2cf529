"""debian/tests, run by autopkgtest in a booted system, on the package as it was built."""

from __future__ import annotations

from pathlib import Path

from tests.node.builds import Builds
from tests.node.machine import Machine


def test_autopkgtest(builds: Builds, node_tree: Path) -> None:
    with Machine(builds.tree, proxmox=False) as machine:
        machine.offer(builds.repository(builds.deb))
        (source,) = builds.deb.parent.glob("*.dsc")
        for file in (*builds.deb.parent.glob("*.dsc"), *builds.deb.parent.glob("*.tar.xz"), builds.deb):
            (machine.root / "srv" / file.name).write_bytes(file.read_bytes())
        # What the package depends on is in the other system's downloads.
        for archive in (node_tree / "var/cache/apt/archives").glob("*.deb"):
            (machine.root / "var/cache/apt/archives" / archive.name).write_bytes(archive.read_bytes())
        done = machine.run(
            "autopkgtest",
            f"/srv/{builds.deb.name}",
            f"/srv/{source.name}",
            "--ignore-restrictions=isolation-container",
            "--",
            "null",
            check=False,
            timeout=600,
        )
        output = done.out + done.err
        assert done.status == 0, output[-6000:]
        for name in ("command-line", "service"):
            assert [
                line.split()[1]
                for line in done.out.splitlines()
                if line.startswith(f"{name} ") and line.split()[1] in ("PASS", "FAIL", "SKIP")
            ] == ["PASS"], output[-6000:]
