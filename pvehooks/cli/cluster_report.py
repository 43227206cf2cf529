"""pvehooks report --cluster: all nodes of the cluster, by what they publish and what pmxcfs holds of all of them."""

from __future__ import annotations

from collections.abc import Iterable

from pvehooks import __version__
from pvehooks.cli.on_target import answer, context_on, judged_on, undecides
from pvehooks.cli.view import View
from pvehooks.derived import groups
from pvehooks.errors import NodeError, PmxcfsAway
from pvehooks.facts.cluster import corosync, summaries
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.formats import guestconfig
from pvehooks.report import fleet, tree
from pvehooks.report.fleet import Failure, Fleet, FleetNode, FreeDevice, GuestPlaces, NodeFigures, SomeGuests, StartThere
from pvehooks.values import Guest, Severity, StartVerdict, Unread, Verdict
from pvehooks.values.guests import guest_label
from pvehooks.values.summaries import Hardware, NodeDetails, Standing, Summary, Target
from pvehooks.wording import sort

# So many times a VM is asked about on a node: some ten seconds.
_MOST_ANSWERS = 20_000
_START = {StartVerdict.WOULD_NOT: fleet.WOULD_NOT, StartVerdict.MUST_NOT: fleet.MUST_NOT}


def gathered(seen: View) -> Fleet:
    """The page; raises NodeError."""
    seen = seen.once()
    try:
        known = summaries.standings(seen.host, seen.node)
    except PmxcfsAway as away:
        raise NodeError(f"pmxcfs does not answer ({away})", hint="See: systemctl status pve-cluster") from away
    cluster = corosync.cluster_name(seen.host)
    now = seen.host.now()
    there = _Guests(seen, [standing.node for standing in known])
    places, left_out = _places(seen, known, there, now)
    return Fleet(
        f"cluster {cluster}" if cluster else f"the cluster of {seen.node}",
        __version__,
        seen.node,
        int(now),
        tuple(_node(seen, standing, cluster, there, now) for standing in known),
        places,
        left_out,
    )


class _Guests:
    """The VMs of the cluster: which node has them, their configs and names."""

    def __init__(self, seen: View, nodes: Iterable[str]) -> None:
        self._seen = seen
        self.of_node = {node: node_facts.guest_ids_or_none(seen.host, node) for node in nodes}

    def raw(self, node: str, vmid: int) -> bytes | OSError:
        """A config."""
        return guest_facts.read_raw_or_error(self._seen.host, node, vmid)

    def on(self, node: str) -> list[Guest]:
        """The VMs of a node that name PCI devices of it."""
        context = context_on(self._seen, node)
        raws = ((vmid, self.raw(node, vmid)) for vmid in self.of_node.get(node, ()))
        return [guest_facts.parse_guest(self._seen.host, node, vmid, raw, context) for vmid, raw in raws if _names_devices(raw)]

    def some(self, node: str, vmids: tuple[int, ...], count: int) -> SomeGuests:
        """VMs as they are called."""
        return SomeGuests(count, tuple(self.label(node, vmid) for vmid in vmids))

    def label(self, node: str, vmid: int) -> str:
        """A VM as it is called; without its name where it is not there any more."""
        raw = self.raw(node, vmid)
        return guest_label(vmid, "" if isinstance(raw, OSError) else str(guestconfig.parse(raw).main.get("name", "")))


def _names_devices(raw: bytes | OSError) -> bool:
    return not isinstance(raw, OSError) and (b"hostpci" in raw or b"vfio" in raw)


# -- a node -----------------------------------------------------------------------------------------------------------


def _node(seen: View, standing: Standing, cluster: str, there: _Guests, now: float) -> FleetNode:
    summary = standing.summary
    state = standing.state(now)
    version = summary.version if isinstance(summary, Summary) else standing.version
    if not isinstance(summary, Summary):
        why = (
            summary
            if isinstance(summary, Unread)
            else Unread(f"it has published nothing ({state})" if state != "no pvehooks" else "it does not have pvehooks")
        )
        return FleetNode(standing.node, cluster, "", state, version, why)
    return FleetNode(standing.node, cluster, "", state, version, _figures(seen, standing, summary, there))


def _figures(seen: View, standing: Standing, summary: Summary, there: _Guests) -> NodeFigures:
    name = standing.node
    details, hardware = summary.details or NodeDetails(), summary.hardware
    older = Unread(f"not published by pvehooks {summary.version} on that node")
    refused = tuple(vmid for vmid in summary.blocked if vmid not in summary.must_not)
    boot = details.next_boot or Unread("not looked at since it was booted")
    failed: int | Unread = (
        Unread("the tasks of Proxmox VE cannot be read there") if details.failed_starts is None else details.failed_starts
    )
    rng = there.some(name, details.rng_guests, details.rng_lacking)
    return NodeFigures(
        as_of=summary.written,
        pve=(details.pve or Unread("not known there")) if summary.details else older,
        kernel=(details.kernel or Unread("not known there")) if summary.details else older,
        next_kernel=_unless(details.next_kernel, details.kernel) if summary.details else older,
        guard_mode=summary.guard_mode,
        rng_mode=summary.rng_mode,
        guests=summary.guests,
        would_not=there.some(name, refused, summary.would_block - summary.must_not_count),
        must_not=there.some(name, summary.must_not, summary.must_not_count),
        passing=summary.passing,
        unguarded=there.some(name, summary.unguarded, summary.passing - summary.guarded),
        rng_given=details.rng_given if summary.details else older,
        rng_lacking=rng if summary.details else older,
        findings=summary.findings,
        of_node=summary.of_node,
        devices_as_of=hardware if isinstance(hardware, Unread) else hardware.looked,
        free=_free(seen, standing, hardware, there),
        left_out=0 if isinstance(hardware, Unread) else hardware.left_out,
        own_settings=details.own_settings if summary.details else older,
        next_boot=boot if summary.details else older,
        next_boot_guests=() if isinstance(boot, Unread) else tuple(there.label(name, vmid) for vmid in boot.guests),
        failed=failed if summary.details else older,
        failures=tuple(Failure(there.label(name, each.vmid), each.ended, each.why) for each in details.failures),
    )


def _unless(value: str, same: str) -> str:
    return "" if value == same else value


def _free(seen: View, standing: Standing, hardware: Hardware | Unread, there: _Guests) -> tuple[FreeDevice, ...] | Unread:
    if isinstance(hardware, Unread):
        return hardware
    if not hardware.iommu.active:
        return Unread(f"nothing can be passed through there: {hardware.iommu.why or 'the IOMMU is off'}")
    node = summaries.node(seen.host, standing)
    node.guests = tuple(there.on(standing.node))
    return fleet.free_devices(map(tree.as_json, groups.groups(node)))


# -- where VMs would start --------------------------------------------------------------------------------------------


def _places(seen: View, known: tuple[Standing, ...], there: _Guests, now: float) -> tuple[tuple[GuestPlaces, ...], int]:
    """Of VMs with passed-through devices first; and how many there was no time for."""
    targets = [(standing, summaries.node(seen.host, standing), context_on(seen, standing.node)) for standing in known]
    if len(targets) < 2:
        return (), 0
    raws = [(node, vmid, there.raw(node, vmid)) for node, vmids in there.of_node.items() for vmid in vmids]
    raws.sort(key=lambda each: not _names_devices(each[2]))
    asked = raws[: _MOST_ANSWERS // (len(targets) - 1)]
    found = []
    for home, vmid, raw in asked:
        answers: list[StartThere] = []
        label, template = "", False
        for standing, node, context in targets:
            if standing.node == home:
                continue
            verdict = judged_on(seen, vmid, raw, Target(node, standing, home, now, __version__), context)
            label, template = verdict.guest.label, verdict.guest.template
            if template:
                break
            answers.append(_answer(standing.node, verdict))
        if not template:
            found.append(GuestPlaces(vmid, label, home, tuple(answers)))
    return tuple(found), len(raws) - len(asked)


def _answer(node: str, verdict: Verdict) -> StartThere:
    start = answer(verdict)
    if start == "yes":
        return StartThere(node, fleet.WOULD)
    counted = [item.finding for item in sort(verdict.findings) if not item.ignored]
    if start == "no":
        reason = next((each for each in counted if each.severity is Severity.BLOCK), None)
        return StartThere(node, _START.get(verdict.start, fleet.WOULD_NOT), *((reason.rule, reason.message) if reason else ()))
    reason = next((each for each in counted if undecides(each)), None)
    return StartThere(node, fleet.UNKNOWN, *((reason.rule, reason.message.removeprefix("not examined: ")) if reason else ()))
