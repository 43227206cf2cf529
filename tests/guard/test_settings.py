"""The settings of a start: the compiled copy, the files, or what is left of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.guard import bed


def test_broken_settings(tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=bed.IDLE_DISK)
    bed.settings(root, "[guard]\nunbound = blok\n")
    ran = bed.start(root)
    assert ran.status == 0
    first = "pvehooks: settings not used, the built-in ones hold: /etc/pvehooks/pvehooks.conf, line 2: 'blok' is not a value for 'unbound'"
    assert ran.out.startswith(first)


def test_the_compiled_copy(tmp_path: Path) -> None:
    """It counts while its sources are unchanged, and when they are broken."""
    from pvehooks.host import Host
    from pvehooks.settings import load as settings

    root = bed.node(tmp_path, hostpci=bed.IDLE_DISK)
    host = Host(str(root))
    bed.settings(root, "[guard]\nunbound = block\n")
    settings.compile_to(host, settings.load(host))
    assert bed.start(root).status == 1
    bed.settings(root, "[guard]\nunbound = leave\n")
    assert bed.start(root).status == 0
    bed.settings(root, "[guard]\nunbound = \n")
    # Also after a boot.
    shutil.rmtree(root / "run/pvehooks", ignore_errors=True)
    ran = bed.start(root)
    assert ran.status == 1 and "settings not used, the last good ones hold: " in ran.out
    (root / "var/lib/pvehooks/settings.json").write_text('{"version": 5}')
    assert "the built-in ones hold" in bed.start(root).out
