"""The node in words: what it is, how it boots, whether devices can be passed through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pvehooks.report.content import UNEXAMINED, Fact, GuestSeen, Report, all_findings, severity
from pvehooks.values import Node, StartVerdict, Unread
from pvehooks.wording import and_more, counted

_VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "HygonGenuine": "Hygon"}
_GIB = 1 << 30


def facts(node: Node) -> tuple[Fact, ...]:
    """The facts of a node that people want to know first, and that changes are looked for in."""
    return (_kernel(node), _boot(node), _processors(node), _memory(node), _iommu(node), _interrupts(node))


def _kernel(node: Node) -> Fact:
    kernels = node.kernels
    if isinstance(kernels, Unread):
        return Fact("kernel", None, kernels.why)
    text = kernels.running
    if kernels.next and kernels.next != kernels.running:
        text += f" ({kernels.next} is next)"
    return Fact("kernel", text or None, "the running kernel is not known")


def _boot(node: Node) -> Fact:
    loader = node.loader
    if isinstance(loader, Unread):
        return Fact("boot", None, loader.why)
    if not loader.kind:
        return Fact("boot", None, loader.why or "its boot loader is not known")
    text = f"{loader.name} ({'UEFI' if loader.uefi else 'legacy BIOS'}"
    if not isinstance(node.firmware, Unread) and node.firmware.secure_boot is not None and loader.uefi:
        text += f", Secure Boot {'on' if node.firmware.secure_boot else 'off'}"
    return Fact("boot", f"{text})")


def _processors(node: Node) -> Fact:
    vendor = "" if isinstance(node.firmware, Unread) else _VENDORS.get(node.firmware.cpu, node.firmware.cpu)
    cpus = 0 if isinstance(node.layout, Unread) else sum(map(len, node.layout.nodes.values()))
    if not vendor and not cpus:
        why = node.layout.why if isinstance(node.layout, Unread) else node.firmware.why if isinstance(node.firmware, Unread) else ""
        return Fact("processors", None, why or "neither their maker nor their number is known")
    text = f"{cpus} CPUs ({vendor})" if cpus and vendor else f"{cpus} CPUs" if cpus else f"CPUs of {vendor}"
    nodes = 0 if isinstance(node.layout, Unread) else len(node.layout.nodes)
    return Fact("processors", f"{text} on {nodes} NUMA nodes" if nodes > 1 else text)


def _memory(node: Node) -> Fact:
    if isinstance(node.layout, Unread):
        return Fact("memory", None, node.layout.why)
    size = node.layout.memory / _GIB
    return Fact("memory", f"{size:.0f} GiB" if size >= 10 else f"{size:.1f} GiB")


def _iommu(node: Node) -> Fact:
    iommu = node.iommu
    if isinstance(iommu, Unread):
        return Fact("IOMMU", None, iommu.why)
    if not iommu.active:
        return Fact("IOMMU", f"off ({iommu.why})" if iommu.why else "off")
    override = f", its groups split by pcie_acs_override={iommu.acs_override}" if iommu.acs_override else ""
    return Fact("IOMMU", f"on{override}")


def _interrupts(node: Node) -> Fact:
    iommu = node.iommu
    if isinstance(iommu, Unread):
        return Fact("interrupts", None)
    if iommu.remaps_interrupts is None:
        return Fact("interrupts", None, "whether they are remapped is not known")
    return Fact("interrupts", "remapped" if iommu.remaps_interrupts else "not remapped")


def paragraph(report: Report) -> str:
    """The node in a paragraph."""
    known = {fact.name: fact.text for fact in report.facts if fact.text is not None}
    sentences = []
    runs = [f"runs kernel {known['kernel']}"] if "kernel" in known else []
    runs += [f"boots with {known['boot']}"] if "boot" in known else []
    if runs:
        sentences.append(f"{report.node} {' and '.join(runs)}.")
    has = [known["processors"]] if "processors" in known else []
    has += [f"{known['memory']} of memory"] if "memory" in known else []
    if has:
        sentences.append(f"It has {' and '.join(has)}.")
    if "IOMMU" in known:
        interrupts = f", interrupts are {known['interrupts']}" if "interrupts" in known and known["IOMMU"].startswith("on") else ""
        sentences.append(f"The IOMMU is {known['IOMMU']}{interrupts}.")
    sentences.append(guests(report.guests))
    if "failed starts" in known:
        sentences.append(f"{known['failed starts']}.")
    return " ".join(sentences)


def guests(seen: tuple[GuestSeen, ...]) -> str:
    """The guests in a sentence or two."""
    if not seen:
        return "There are no VMs."
    running = sum(guest.running for guest in seen)
    if len(seen) == 1:
        return f"There is 1 VM, which {'runs' if running else 'is stopped'}; it {_start_of(seen[0])}."
    text = f"Of {len(seen)} VMs, {running or 'none'} {'run' if running != 1 else 'runs'}"
    starts = Counter(guest.start for guest in seen)
    parts = (
        [f"{counted(starts[StartVerdict.MUST_NOT], 'VM')} must not start, and nothing stops it"] if starts[StartVerdict.MUST_NOT] else []
    )
    if starts[StartVerdict.MUST_NOT] > 1:
        parts = [parts[0].replace("stops it", "stops them")]
    parts += [f"{counted(starts[StartVerdict.WOULD_NOT], 'VM')} would not start"] if starts[StartVerdict.WOULD_NOT] else []
    return f"{text}; {'; '.join(parts) or 'all would start'}."


def _start_of(guest: GuestSeen) -> str:
    words: str = guest.start.value
    return f"{words}, and nothing stops it ({guest.unguarded})" if guest.unguarded else words


def unread(report: Report) -> list[str]:
    """What could not be read of the node, a line each."""
    lines = [f"{fact.name}: {fact.why.removeprefix('the IOMMU: ')}" for fact in report.facts if fact.text is None and fact.why]
    if isinstance(report.groups, Unread):
        lines.append(f"IOMMU groups: {report.groups.why}")
    else:
        whys: dict[str, list[str]] = {}
        for group in report.groups:
            for member in group.members:
                for why in member.unread:
                    whys.setdefault(why, []).append(member.device.address)
        lines += [f"use of {and_more(addresses, 3)}: {why}" for why, addresses in whys.items()]
    return [*dict.fromkeys(lines), *_findings(report)]


def _findings(report: Report) -> Iterator[str]:
    """What rules could not examine, guests of whom the same is said together."""
    whose: dict[str, list[str]] = {}
    for each in all_findings(report):
        if severity(each.item) == UNEXAMINED:
            labels = whose.setdefault(each.item.finding.message.removeprefix("not examined: "), [])
            labels += [each.guest.label] if each.guest else []
    for message, labels in whose.items():
        yield f"{and_more(list(dict.fromkeys(labels)), 3)}: {message}" if labels else message
