"""The machine captured, plain and disguised, and what the captures tell beside what the machine itself tells."""

from __future__ import annotations

import lzma
import time
from pathlib import Path
from typing import Any

from tests.kernel.inside.rebooting import run

PLAIN, DISGUISED = "/root/plain.tar.xz", "/root/disguised.tar.xz"
# The machine's address and a MAC, the UUIDs of guests, a guest's name, a volume group, a file system's label.
NAMES = ("192.0.2.10", "52:54:00", "00000000-0000-4000-8000-0000000001", "virtual-function", "vmdata", "guestpool")


def captures() -> dict[str, Any]:
    """What was told of and by the captures; which names are in the disguised one."""
    # Not there where the tests are.
    from pvehooks.capture import archive, collect, make, replay

    began = time.monotonic()

    def findings(seen: collect.LookResult) -> list[list[str]]:
        found = [[str(vmid), each.rule, each.severity.value, each.subject, each.message, each.remedy] for vmid, each in seen.findings]
        return [*found, *(["host check", "", "", text] for text in seen.passed)]

    look = make.look("/", "pve1")
    found: dict[str, Any] = {"node": findings(look.seen), "troubles": [*look.seen.troubles], "named": {}}
    for file in (PLAIN, DISGUISED):
        made = make.made(look, file == PLAIN, b"any")
        Path(file).write_bytes(make.packed(made))
        with archive.unpacked(file) as directory:
            found[file] = findings(collect.at_everything(replay.host_at(directory), made.node))
        raw = lzma.decompress(Path(file).read_bytes())
        found["named"][file] = [name for name in NAMES if name.encode() in raw]
    status, output = run("pvehooks", "check", "--json", "--root", PLAIN)
    found["check"] = {"status": status, "output": output}
    found["left"] = [path.name for path in Path("/tmp").glob("pvehooks-*")]
    return {**found, "seconds": round(time.monotonic() - began, 1)}
