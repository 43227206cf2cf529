"""What the look at a firmware image of 4 MiB adds to a start, beside an empty Python and sha256sum."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pvehooks.host import Host
from pvehooks.settings import load as settings
from tests.beds.tree import Link, make_fake_tree
from tests.bench.figures import Figure
from tests.bench.guard import guard_in, once

TIMES = 41
LARGE, SMALL = 4 << 20, 4 << 10
IMAGES = Path("/var/lib/vz/efi-firmware")
UUID = "b3247ab1-1fe6-428e-965b-08a1b64a8746"


def node() -> None:
    """Makes this namespace a node with two guests that were given an image each, 100 a large one, 101 a small one."""
    files: dict[str, str | bytes | Link | None] = {"local": Link("nodes/pve1")}
    IMAGES.mkdir(parents=True, exist_ok=True)
    for vmid, size in ((100, LARGE), (101, SMALL)):
        content = os.urandom(size)
        (IMAGES / f"{vmid}.fd").write_bytes(content)
        blockdev = f"driver=raw,node-name=pvehooks-firmware,read-only=on,file.driver=file,file.filename={IMAGES}/{vmid}.fd"
        args = f"-blockdev {blockdev} -machine pflash0=pvehooks-firmware"
        pinned = {"volid": f"local:efi-firmware/{vmid}.fd", "sha256": hashlib.sha256(content).hexdigest(), "style": "pflash", "args": args}
        record = {"version": 1, "uuid": UUID, "ctime": None, "firmware": {**pinned, "when": 1, "node": "pve1", "state": "done"}}
        files[f"pvehooks/guests/{vmid}.json"] = json.dumps(record)
        files[f"nodes/pve1/qemu-server/{vmid}.conf"] = (
            f"args: {args}\nbios: ovmf\nefidisk0: local:{vmid}/vm-{vmid}-disk-0.raw,efitype=4m,size=528K\nmachine: q35\nname: app\nsmbios1: uuid={UUID}\n"
        )
    make_fake_tree(
        "/etc/pve", files if not Path("/etc/pve/local").is_symlink() else {name: text for name, text in files.items() if name != "local"}
    )


def start() -> Iterator[Figure]:
    """The guard for a guest that has nothing but an image, and what its size costs."""
    with tempfile.TemporaryDirectory() as directory:
        node()
        settings.compile_to(Host(), settings.load(Host()))
        guard = guard_in(Path(directory))
        commands = {
            "python": ["/usr/bin/python3", "-I", "-c", "pass"],
            "large": [*guard, "100", "pre-start"],
            "small": [*guard, "101", "pre-start"],
            "sha256sum": ["/usr/bin/sha256sum", str(IMAGES / "100.fd")],
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(TIMES):
            for name, command in commands.items():
                taken[name].append(once(command))
    median = {name: 1000 * statistics.median(times) for name, times in taken.items()}
    both = [sum(each) for each in zip(taken["python"], taken["sha256sum"], strict=True)]
    ratio = statistics.median(mine / theirs for mine, theirs in zip(taken["large"], both, strict=True))
    words = f"{median['large']:.1f} ms; python3 -I -c pass {median['python']:.1f} ms and sha256sum {median['sha256sum']:.1f} ms"
    yield Figure("guard of a firmware image of 4 MiB, no devices", ratio, 2.5, "times", words)
    added = statistics.median(large - small for large, small in zip(taken["large"], taken["small"], strict=True))
    yield Figure("of that, for its size", 1000 * added, 25, "ms", f"the guard of an image of 4 KiB {median['small']:.1f} ms")
