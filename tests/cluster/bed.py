"""A cluster: a tree a node, each with its own mount of a pmxcfs stand-in that replicates, and the daemons that live there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pvehooks.facts.cluster import summaries
from pvehooks.host import Host
from tests.beds import commandline, pci, printed
from tests.beds.pmxcfs import Pmxcfs
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import PROJECT, wait_until

NAMES = ("pve1", "pve2", "pve3")
DISK = "0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=15 disk=nvme0n1/259:0/S1 part=nvme0n1p1/259:1"
GPU = "0000:01:00.0 class=030000 id=10de:2204 subsystem=1043:87d0 driver=vfio-pci group=14"
ROOT_ON_DISK = {
    "proc/self/mountinfo": "22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw\n",
    "proc/mounts": "/dev/nvme0n1p1 / ext4 rw 0 0\n",
}
BRIDGE = {"sys/class/net/lo/ifindex": "1\n", "sys/class/net/vmbr0/bridge/stp_state": "0\n"}


def pvehooks(root: Path, *arguments: str, status: int = 0) -> str:
    """What the command line prints for the tree, on both streams; run in this process, which takes a tenth of the time."""
    ended = commandline.pvehooks(*arguments, "--root", str(root))
    assert ended.status == status, ended.output
    return printed.timeless(ended.output)


class ClusterNode:
    """One node: its tree, its pmxcfs, its daemon and the command line on it."""

    def __init__(self, directory: Path, name: str, others: Sequence[ClusterNode], files: Mapping[str, str]) -> None:
        self.name = name
        self.root = make_fake_tree(
            directory / name, {**pci.plant(f"{GPU}\n{DISK}\n"), **ROOT_ON_DISK, **BRIDGE, "var/lib/vz/snippets": None}
        )
        self.log = directory / f"{name}.log"
        place = {"mountpoint": self.root / "etc/pve", "db_dir": self.root / "var/lib/pve-cluster"}
        (self.root / "var/lib/pve-cluster").mkdir(parents=True)
        self.pve = Pmxcfs(**place, node=name, members=list(NAMES), files=files, join=[other.pve for other in others])
        self.pve.start()
        self.daemon: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """For what runs on the node."""
        return {**os.environ, "PYTHONPATH": str(PROJECT)}

    def start(self) -> None:
        """Starts the daemon."""
        command = [sys.executable, "-m", "pvehooks.daemon", "--foreground", "--root", str(self.root), "--node", self.name]
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(command, env=self.environment, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Ends the daemon."""
        assert self.daemon is not None
        self.daemon.send_signal(number)
        self.daemon.wait(60)

    def lose(self, other: ClusterNode) -> None:
        """The other node's pmxcfs is gone at a stroke; this one notices it with its next write."""
        other.pve.kill()
        self.pve.local_write("nothing", "")

    def close(self) -> None:
        """Ends all of the node."""
        if self.daemon is not None and self.daemon.poll() is None:
            self.kill()
        self.pve.close()

    def logged(self, words: str, count: int = 1) -> None:
        """Waits till the daemon has said that so often."""
        wait_until(lambda: self.log.read_text().count(words) >= count, f"{words!r} of {self.name} in: {self.log.read_text()}")

    def run(self, *arguments: str, status: int = 0) -> str:
        """What `pvehooks` prints here, on both streams."""
        return pvehooks(self.root, *arguments, status=status)

    def cluster(self) -> dict[str, Any]:
        """What `pvehooks status --cluster --json` says here, by node."""
        return {each["node"]: each for each in json.loads(self.run("status", "--cluster", "--json"))["nodes"]}

    def summary(self, of: str) -> Path:
        """The file of a node's summary, as it is seen from here."""
        return self.pve.path(f"nodes/{of}/pvehooks-summary.json")

    def states(self) -> dict[str, str]:
        """The state of each node, as it is seen from here."""
        host = Host(str(self.root))
        return {standing.node: standing.state(host.now()) for standing in summaries.standings(host, self.name)}


class Cluster:
    """Three nodes; `files` are below /etc/pve of all of them."""

    def __init__(self, directory: Path, files: Mapping[str, str]) -> None:
        self.nodes: dict[str, ClusterNode] = {}
        everywhere = {**files, **{f"nodes/{name}/qemu-server/.keep": "" for name in NAMES}}
        for name in NAMES:
            present = list(self.nodes.values())
            self.nodes[name] = ClusterNode(directory, name, present, {} if present else everywhere)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            node.close()

    def __getitem__(self, name: str) -> ClusterNode:
        return self.nodes[name]

    def start(self) -> None:
        """Starts all daemons at the same moment, and waits till every node sees every summary."""
        for node in self.nodes.values():
            node.start()
        self.wait_for_summaries(*NAMES)

    def wait_for_summaries(self, *names: str) -> None:
        """Waits till each of those sees the summaries of all of them."""
        for node in names:
            for name in names:
                wait_until(self[node].summary(name).exists, f"{name}'s summary on {node}; {self[name].log.read_text()}")
