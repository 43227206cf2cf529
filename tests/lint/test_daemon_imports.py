"""What the daemon keeps loaded: it runs for months on a node whose memory is for guests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.beds.tree import make_fake_tree
from tests.lint.source import PROJECT

# Each takes 0.1 to 1 MB, and nothing that pyinotify or systemd imports needs it.
FORBIDDEN = {
    "argparse",
    "configobj",
    "dataclasses",
    "gettext",
    "hashlib",
    "inspect",
    "ipaddress",
    "platform",
    "pprint",
    "typing",
    "urllib.parse",
    "uuid",
}
PROGRAM = """
import sys
sys.path[:0] = [{project!r}, "/usr/lib/python3/dist-packages"]
from pvehooks.daemon import main, settings_in_force
from pvehooks.daemon.publish import textfile, summary
from pvehooks.errors import SettingsError
from pvehooks.host import Host
assert main.options_of([]) == ("/", "", False)
try:
    print(settings_in_force.load(Host(sys.argv[1])).rng().mode)
except SettingsError:
    print("broken")
print(*sys.modules)
"""


@pytest.mark.parametrize(("mode", "read"), [("warn", "warn"), ("loud", "broken")])
def test_the_daemon_keeps_little_loaded(mode: str, read: str, tmp_path: Path) -> None:
    root = make_fake_tree(tmp_path, {"etc/pvehooks/pvehooks.conf": f"[rng]\nmode = {mode}\n"})
    line = ["/usr/bin/python3", "-IS", "-c", PROGRAM.format(project=str(PROJECT)), str(root)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    answer, modules = done.stdout.splitlines()
    assert answer == read
    assert "pvehooks.rules.catalogue" in modules
    assert FORBIDDEN & set(modules.split()) == set()
