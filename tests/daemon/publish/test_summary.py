"""When a node writes its summary: on a change, at most once a minute, once an hour, never without quorum; and what is in it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvehooks.daemon.publish.summary import Publisher
from pvehooks.daemon.stats import CountedFinding, GuestStats, Stats
from pvehooks.facts.cluster import summaries
from pvehooks.host import Host
from pvehooks.records import boot_forecast
from pvehooks.rules import catalogue
from pvehooks.settings import load as settings
from pvehooks.values import Severity
from pvehooks.values.summaries import HEARTBEAT, Hardware, NextBootSummary, NodeDetails, Summary
from tests.beds import pci
from tests.beds.pmxcfs import Pmxcfs
from tests.beds.tree import make_fake_tree
from tests.cluster.bed import DISK, GPU, ROOT_ON_DISK

NODE = {**pci.plant(f"{GPU}\n{DISK}\n"), **ROOT_ON_DISK, "var/lib/pve-cluster": None}
TREE = {**NODE, "etc/pve/nodes/pve1/qemu-server": None}
BLOCKED = CountedFinding("group-in-use-by-host", Severity.BLOCK, ignored=False, examined=True)
GUEST = GuestStats("VM 100 (web)", running=True, blocked=True, passes_through=True, guarded=False, findings=(BLOCKED,))


class Clocked(Host):
    """A tree with a clock that tests set; what is written is counted."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.seconds = 1000.0
        self.tries = self.writes = 0

    def monotonic(self) -> float:
        """The clock."""
        return self.seconds

    def now(self) -> float:
        """The same as a time of day."""
        return 1_800_000_000 + self.seconds

    def replace(self, path: str, content: bytes, *arguments: object, **options: object) -> None:
        """As ever, and counted."""
        self.tries += 1
        super().replace(path, content)
        self.writes += 1


@pytest.fixture
def host(tmp_path: Path) -> Clocked:
    return Clocked(str(make_fake_tree(tmp_path / "node", TREE)))


def stats(guest: GuestStats | None = None) -> Stats:
    found = Stats()
    found.guests = {100: guest} if guest else {}
    return found


def ask(publisher: Publisher, host: Clocked, found: Stats, at: float) -> str:
    """What the publisher says when it is asked at that second."""
    host.seconds = at
    return publisher.publish(found, settings.checked(host, catalogue.RULES))


def read_summary(host: Host, node: str = "pve1") -> Summary:
    found = summaries.read(host, node)
    assert isinstance(found, Summary)
    return found


def test_what_it_logs(host: Clocked) -> None:
    found = stats(GUEST)
    found.guests[101] = GUEST._replace(guarded=True, blocked=False, findings=(BLOCKED._replace(ignored=True),))
    found.guests[102] = GUEST._replace(passes_through=False, blocked=False, findings=(BLOCKED._replace(examined=False),))
    found.node = (CountedFinding("iommu-off", Severity.WARNING, ignored=False, examined=True),)
    found.hookscripts = frozenset({"local:snippets/pvehooks-guard-local+hook.pl"})
    assert ask(Publisher(host, "pve1"), host, found, 0) == ""
    summary_of_node = read_summary(host)
    assert (summary_of_node.guests, summary_of_node.passing, summary_of_node.guarded, summary_of_node.unguarded) == (3, 2, 1, (100,))
    assert (summary_of_node.blocked, summary_of_node.would_block) == ((100,), 1)
    assert summary_of_node.findings == {"block": 1, "ignored": 1}
    assert summary_of_node.of_node == {"warning": 1}
    assert summary_of_node.rules == {"group-in-use-by-host": 1, "iommu-off": 1}
    gone = {volid: "does not exist" in trouble for volid, trouble in summary_of_node.hookscripts.items()}
    assert gone == {
        "local:snippets/pvehooks-guard": True,
        "local:snippets/pvehooks-guard-local+hook.pl": True,
        "local:snippets/hook.pl": True,
    }
    assert isinstance(summary_of_node.hardware, Hardware)
    assert [use.sentence for use in summary_of_node.hardware.uses["0000:02:00.0"]] == ["holds / (ext4 on nvme0n1p1)"]


def test_details(host: Clocked) -> None:
    """Versions, the node's own settings, starts that failed, the last look at the next boot: the same again as soon as they change."""
    upid = "UPID:pve1:00001000:00002000:6B49D1E0:qmstart:100:root@pam:"
    make_fake_tree(
        Path(host.root),
        {
            "usr/share/perl5/PVE/pvecfg.pm": "sub release {\n    return '8.4';\n}\n\nsub version {\n    return '8.4.1';\n}\n",
            "proc/sys/kernel/osrelease": "6.8.12-4-pve\n",
            "boot/vmlinuz-6.14.8-2-pve": "",
            "etc/pve/pvehooks/pvehooks.conf": "[guard]\nmode = audit\n",
            "etc/pvehooks/pvehooks.conf": "[rng]\nmode = warn\n[rules]\niommu-off = info\n[guest 100]\nignore = iommu-off: no\n",
            "var/log/pve/tasks/index": f"{upid} 1 6B49D1E5 start failed: QEMU exited with code 1\n",
        },
    )
    publisher, found = Publisher(host, "pve1"), stats(GUEST._replace(rng0="given"))
    found.guests[101] = GUEST._replace(rng0="lacking")
    ask(publisher, host, found, 0)
    details = read_summary(host).details
    assert details is not None and details.failures[0].vmid == 100 and "QEMU" in details.failures[0].why
    expected = NodeDetails("8.4.1", "6.8.12-4-pve", "6.14.8-2-pve", 1, 1, (101,), {"rng.mode": "warn", "rules.iommu-off": "info"})
    assert details._replace(failures=()) == expected._replace(failed_starts=1)
    boot = NextBootSummary(1, "6.14.8-2-pve", 1, 1, 0, 0, (101,), 0, stops=False)
    boot_forecast.write(host, boot)
    ask(publisher, host, found, 30)
    assert host.writes == 2, "the record and the first summary: it is looked at once a minute"
    ask(publisher, host, found, 61)
    assert read_summary(host).details == details._replace(next_boot=boot)
    Path(host.root, "etc/pvehooks/pvehooks.conf").write_text("")
    ask(publisher, host, found, 130)
    again = read_summary(host).details
    assert again is not None and again.own_settings == {}


def test_at_most_once_a_minute(host: Clocked) -> None:
    publisher, found = Publisher(host, "pve1"), stats()
    for second in range(600):
        found.guests[100 + second] = GUEST
        found.changes += 1
        ask(publisher, host, found, second)
    assert host.writes == 10
    ask(publisher, host, found, 600)
    assert read_summary(host).guests == 600


def test_only_when_its_content_changes(host: Clocked) -> None:
    publisher, found = Publisher(host, "pve1"), stats(GUEST)
    for minute in range(60):
        # Looks that find what they found before.
        found.changes += minute % 2
        ask(publisher, host, found, 60 * minute)
    assert host.writes == 1
    ask(publisher, host, found, HEARTBEAT + 1)
    assert host.writes == 2, "once an hour, so that silence can be told"
    assert read_summary(host).age(host.now()) == 0


def test_a_restart_is_not_logged(host: Clocked) -> None:
    ask(Publisher(host, "pve1"), host, stats(GUEST), 0)
    again = Publisher(host, "pve1")
    ask(again, host, stats(GUEST), 1800)
    assert host.writes == 1
    ask(again, host, stats(GUEST), HEARTBEAT + 1)
    assert host.writes == 2
    ask(Publisher(host, "pve1"), host, stats(), HEARTBEAT + 100)
    assert host.writes == 3, "but a guest that is gone is"


def test_devices_are_looked_at_with_a_change_and_not_too_often(host: Clocked) -> None:
    publisher, found = Publisher(host, "pve1"), stats()
    ask(publisher, host, found, 0)
    Path(host.root, "sys/devices/pci0000:00/0000:01:00.0/driver").unlink()
    drivers = []
    for second in (100, 601):
        found.changes += 1
        ask(publisher, host, found, second)
        known = read_summary(host).hardware
        assert isinstance(known, Hardware)
        drivers.append(known.devices["0000:01:00.0"].kind.driver)
    assert drivers == ["vfio-pci", ""]


def test_it_is_taken_back(host: Clocked) -> None:
    publisher = Publisher(host, "pve1")
    ask(publisher, host, stats(), 0)
    conf = Path(host.root, "etc/pvehooks/pvehooks.conf")
    conf.parent.mkdir(parents=True)
    conf.write_text("[cluster]\npublish = no\n")
    assert ask(publisher, host, stats(), 1) == ""
    assert summaries.read(host, "pve1") is None
    conf.write_text("")
    ask(publisher, host, stats(), 61)
    assert read_summary(host).guests == 0


def test_a_bug_is_logged_once(host: Clocked) -> None:
    publisher, broken = Publisher(host, "pve1"), stats()
    broken.guests = {100: None}  # type: ignore[dict-item]
    assert "a bug: AttributeError" in ask(publisher, host, broken, 0)
    assert ask(publisher, host, broken, HEARTBEAT + 1) == ""
    assert ask(publisher, host, stats(), 2 * HEARTBEAT + 2) == ""
    assert host.writes == 1


# -- on pmxcfs --------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[tuple[Clocked, Pmxcfs], tuple[Clocked, Pmxcfs]]]:
    """Two nodes, each with a mount of its own."""
    hosts = [Clocked(str(make_fake_tree(tmp_path / name, NODE))) for name in ("pve1", "pve2")]
    places = [{"mountpoint": f"{host.root}/etc/pve", "db_dir": f"{host.root}/var/lib/pve-cluster"} for host in hosts]
    files = {f"nodes/{name}/qemu-server/.keep": "" for name in ("pve1", "pve2")}
    first = Pmxcfs(**places[0], node="pve1", members=["pve1", "pve2"], files=files)
    second = Pmxcfs(**places[1], node="pve2", members=["pve1", "pve2"], join=[first])
    with first, second:
        yield (hosts[0], first), (hosts[1], second)


def test_without_quorum_it_waits_and_logs_that_once(pair: tuple[tuple[Clocked, Pmxcfs], tuple[Clocked, Pmxcfs]]) -> None:
    (host, pve), (other, _) = pair
    publisher = Publisher(host, "pve1")
    pve.set_quorum(False)
    # Lost so lately that the daemon has not noticed.
    summary_of_node = ask(publisher, host, stats(), 0)
    assert summary_of_node.startswith(
        "this node's summary for the others: /etc/pve/nodes/pve1/pvehooks-summary.json: no quorum, or not root"
    )
    assert [ask(publisher, host, stats(), second) for second in (5, 11, 22, 33)] == [""] * 4
    known = stats()
    known.quorate = False
    tries = host.tries
    assert tries == 4, "every ten seconds at most"
    assert ask(publisher, host, known, 44) == ""
    assert host.tries == tries
    pve.set_quorum(True)
    assert ask(publisher, host, stats(), 55) == ""
    assert read_summary(other).version == read_summary(host).version


def test_two_nodes_write_at_the_same_moment(pair: tuple[tuple[Clocked, Pmxcfs], tuple[Clocked, Pmxcfs]]) -> None:
    hosts = {"pve1": pair[0][0], "pve2": pair[1][0]}
    loaded = settings.load(hosts["pve1"])
    begun = threading.Barrier(2)

    def beat(name: str) -> None:
        host, publisher, found = hosts[name], Publisher(hosts[name], name), stats()
        for minute in range(20):
            begun.wait(60)
            host.seconds = 61.0 * minute
            found.guests[100 + minute] = GUEST
            found.changes += 1
            assert publisher.publish(found, loaded) == ""

    threads = [threading.Thread(target=beat, args=(name,)) for name in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for host in hosts.values():
        assert host.writes == 20
        assert [read_summary(host, name).guests for name in hosts] == [20, 20]
        assert not [name for node in hosts for name in host.names(f"/etc/pve/nodes/{node}") if ".tmp." in name]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"{", "is no JSON"), (b'{"format": 7}', "was written by another version"), (b"x" * 20000, "is larger")],
    ids=["no JSON", "newer", "too large"],
)
def test_a_summary_that_cannot_be_used(host: Clocked, content: bytes, words: str) -> None:
    Path(host.root, summaries.path("pve1")[1:]).write_bytes(content)
    found = summaries.read(host, "pve1")
    assert not isinstance(found, Summary) and found is not None and words in found.why
    # The node's own is simply written anew.
    ask(Publisher(host, "pve1"), host, stats(), 0)
    assert read_summary(host).guests == 0


def test_a_summary_that_cannot_be_read(host: Clocked) -> None:
    Path(host.root, summaries.path("pve1")[1:]).mkdir()
    found = summaries.read(host, "pve1")
    assert not isinstance(found, Summary) and found is not None
    assert found.why == f"{summaries.path('pve1')}: {OSError(errno.EISDIR, 'Is a directory').strerror}"
