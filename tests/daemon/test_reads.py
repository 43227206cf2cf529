"""In one review of all guests no file of the node is read twice, whatever asks, and none once for each guest."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pvehooks import judge as judging
from pvehooks.daemon import review
from pvehooks.daemon.loop import Daemon
from pvehooks.daemon.parts import make_parts
from pvehooks.daemon.review import Review
from pvehooks.host import Host
from pvehooks.host.readonce import CachingHost
from pvehooks.settings.effective import Settings
from pvehooks.settings.load import built_in
from pvehooks.values import Finding, Guest, Verdict
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import RNG0
from tests.daemon.parts import NODE, Kept
from tests.rules.example_tree import CONFIG, tree_of

EXAMPLES = sorted((Path(__file__).parents[1] / "rules/examples").glob("*.failing*.txtar"))
GUESTS = (100, 101, 102)
# What belongs to one guest (its firmware image is read for its digest and for its drivers), and what is asked before each write to pmxcfs.
OF_GUEST = re.compile(
    r".*/efi-firmware/|/var/lib/pvehooks/devices/vm-|/etc/pve/nodes/[^/]+/(qemu-server|lxc)/\d|/etc/pve/pvehooks/guests/\d|/proc/\d|/run/pvehooks|/etc/pve/nodes$"
)

# The header for all devices, and the capabilities behind it of one that is to be known again.
IN_PARTS = re.compile(r"/sys/bus/pci/devices/[^/]+/config")


@contextmanager
def counted() -> Iterator[Counter[tuple[str, str]]]:
    """How often the system was asked what about a path: every reader of Host locates it first."""
    found: Counter[tuple[str, str]] = Counter()

    def noting(locate: Callable[[Host, str, bool], str]) -> Callable[[Host, str, bool], str]:
        def noted(host: Host, path: str, follow: bool = True) -> str:
            asked = sys._getframe(1).f_code.co_name
            # A host that is read once has the other look up where a directory is.
            if asked != "locate":
                found[asked, path] += 1
            return locate(host, path, follow)

        return noted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Host, "locate", noting(Host.locate))
        patch.setattr(CachingHost, "locate", noting(CachingHost.locate))
        yield found


def review_all(host: Host, vmids: Sequence[int] = GUESTS) -> Kept:
    """The guests are reviewed, as when the daemon starts."""
    output = Kept()
    parts = make_parts(host, NODE, built_in(), output, lambda: None)
    parts.queue.pause_all("nothing is to be changed", trials=False)
    Review(parts).review(vmids)
    return output


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name[:-6])
def test_each_file_of_the_node_is_read_once(example: Path, tmp_path: Path) -> None:
    root = tree_of(example, tmp_path).root
    config = Path(root, CONFIG)
    if not config.exists():
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text("name: web\n")
    if config.is_file():
        for vmid in GUESTS[1:]:
            config.with_name(f"{vmid}.conf").write_bytes(config.read_bytes())
    with counted() as found:
        output = review_all(Host(root))
    # A config that is not there is looked for in its folder: one that is being replaced is missing for a moment.
    folder = None if config.is_file() else f"/{CONFIG.rpartition('/')[0]}"
    more = {asked: count for asked, count in found.items() if count > 1 + bool(IN_PARTS.fullmatch(asked[1]))}
    assert {asked: count for asked, count in more.items() if not OF_GUEST.match(asked[1]) and asked[1] != folder} == {}
    assert [entry.message for entry in output.entries if entry.fields["PVEHOOKS_EVENT"] == "bug"] == []


@pytest.mark.parametrize("more", ["", "usb0: host=1050:0407\n", "hookscript: local:snippets/pvehooks-guard\n"])
def test_the_start_reads_each_config_once(more: str, tmp_path: Path) -> None:
    """For the hookscripts that they name, for what guests have in common, and for the review."""
    files = {f"etc/pve/nodes/{NODE}/qemu-server/{vmid}.conf": f"name: web\n{more}" for vmid in GUESTS}
    files["etc/pve/nodes/pve2/qemu-server/200.conf"] = f"name: web\n{more}"
    host = Host(str(make_fake_tree(tmp_path, files)))
    for _ in ("the first look at the node", "a start"):
        daemon = Daemon(host, NODE, built_in(), Kept())
        daemon.parts.queue.pause_all("nothing is to be changed", trials=False)
        with counted() as found:
            daemon._first_review()
    assert sorted(daemon.parts.stats.guests) == list(GUESTS)
    reads = {path: count for (asked, path), count in found.items() if asked == "_read" and path.endswith(".conf") and "qemu-server" in path}
    assert reads == dict.fromkeys((f"/{path}" for path in files), 1)


def test_all_of_a_batch_is_read_before_the_first_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configs, and the records of those that have one; of a guest that is left out no record is read."""
    record = json.dumps({"version": 1, "admins_rng0": {"value": "source=/dev/urandom", "when": 1700000000}})
    files: dict[str, str] = {f"etc/pve/nodes/{NODE}/qemu-server/{vmid}.conf": f"bios: ovmf\n{RNG0}" for vmid in GUESTS[1:]}
    files[f"etc/pve/nodes/{NODE}/qemu-server/100.conf"] = "name: web\n"
    files |= {f"etc/pve/pvehooks/guests/{vmid}.json": record for vmid in GUESTS[1:]}
    parts = make_parts(Host(str(make_fake_tree(tmp_path, files))), NODE, built_in(), Kept(), lambda: None)
    parts.queue.pause_all("nothing is to be changed", trials=False)
    seen: list[str] = []
    read, judge = Host._read, judging.judge

    def reading(host: Host, path: str, limit: int) -> bytes:
        if re.search(r"/\d+\.(conf|json)$", path):
            seen.append(path.rpartition("/")[2])
        return read(host, path, limit)

    def noting(guest: Guest, findings: Iterable[Finding], settings: Settings) -> Verdict:
        seen.append(f"judged {guest.vmid}, {guest.recorded_rng and guest.recorded_rng.value}")
        return judge(guest, findings, settings)

    monkeypatch.setattr(Host, "_read", reading)
    monkeypatch.setattr(review, "judge", noting)
    reviews = Review(parts)
    reviews.review(GUESTS[1:])
    rng0 = "source=/dev/urandom"
    assert seen == ["101.conf", "102.conf", "101.json", "102.json", f"judged 101, {rng0}", f"judged 102, {rng0}"]
    seen.clear()
    reviews.review(GUESTS)
    assert seen == ["100.conf", "101.conf", "102.conf", "judged 100, None"]


def test_after_the_start_configs_are_read_anew(tmp_path: Path) -> None:
    config = f"etc/pve/nodes/{NODE}/qemu-server/100.conf"
    daemon = Daemon(Host(str(make_fake_tree(tmp_path, {config: "name: web\n"}))), NODE, built_in(), Kept())
    daemon._first_review()
    Path(tmp_path, config).write_text("name: other\n")
    daemon.review.review((100,))
    assert daemon.parts.stats.guests[100].label == "VM 100 (other)"


def test_a_review_of_one_guest_asks_for_no_other_process(tmp_path: Path) -> None:
    """However many run."""
    files: dict[str, str] = {f"etc/pve/nodes/{NODE}/qemu-server/{vmid}.conf": "name: web\n" for vmid in GUESTS}
    for vmid in GUESTS:
        files |= {f"run/qemu-server/{vmid}.pid": f"{vmid}\n", f"proc/{vmid}/cmdline": f"kvm\0-id\0{vmid}\0"}
    host = Host(str(make_fake_tree(tmp_path, files)))
    with counted() as found:
        review_all(host, GUESTS[:1])
    assert [path for _, path in found if path.startswith("/proc/1")] == ["/proc/100/cmdline"]
