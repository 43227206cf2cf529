"""The devices in HTML: a table of which VM has which, and a map of where they sit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pvehooks.report import picture, places, tree
from pvehooks.report.content import Report
from pvehooks.report.frame import icon
from pvehooks.report.markup import Markup, join, tag
from pvehooks.report.picture import ICONS, Box, Cell
from pvehooks.report.places import Place, RootBus
from pvehooks.values import NamedTuple, Unread
from pvehooks.wording import counted

# More guests than these have no column each; of those in one cell so many are shown.
_COLUMNS, _LISTED = 5, 6
# More columns than these have room on a wide screen and on paper alone.
_FEW = 3
_AS_WELL = "as well"
# So many devices are seen at a glance.
_FEW_ROWS = 8
_KINDS = {"display": "graphics and sound", "network": "network", "storage": "disks", "usb": "USB", "other": "others"}
_KINDS_BY_BASE = {0x01: "storage", 0x02: "network", 0x03: "display", 0x04: "display", 0x0D: "network"}
_USB_CONTROLLER = 0x0C03
_NOT_VISIBLE = "what is plugged in is not visible while vfio-pci has the controller"
# Who has it now, as long as no VM does.
_NOW = {"host": "host", "free": "free", "idle": "not used", "unknown": "not known"}


class _Share(NamedTuple):
    """What a guest has to do with a device: `tone`, and in words."""

    vmid: int
    tone: str
    words: str


# -- who has which ----------------------------------------------------------------------------------------------------


def devices(report: Report) -> Markup | None:
    """The table of guests and devices; None where there is nothing that could be passed through."""
    rows = [(box, cell, _shares(cell)) for box in picture.boxes(report) for cell in box.cells if _is_listed(cell)]
    rows.sort(key=lambda row: row[1].member.device.address)
    if not rows:
        return None
    vmids = sorted({share.vmid for _, _, shares in rows for share in shares})
    columns = vmids if len(vmids) <= _COLUMNS else []
    names = {guest.vmid: guest.name for guest in report.guests}
    heads = [tag("th", f"VM {vmid}", tag("span", tag("bdi", names.get(vmid, ""))), scope="col") for vmid in columns]
    others = [tag("th", "VMs", scope="col")] if vmids and not columns else []
    slots = places.slot_names(report)
    return tag(
        "section",
        tag("h2", "Who has which device", id="devices"),
        tag("p", _explained(rows), class_="soft small"),
        _kinds([cell for _, cell, _ in rows]),
        tag(
            "table",
            tag("thead", tag("tr", (tag("th", head, scope="col") for head in ("Device", "Group", "Now")), heads, others)),
            tag("tbody", (_row(box, cell, shares, columns, places.slot_of(cell.member.device, slots)) for box, cell, shares in rows)),
            class_="who-has many" if len(columns) > _FEW else "who-has",
        ),
        aria_labelledby="devices",
    )


def _is_listed(cell: Cell) -> bool:
    return cell.whose != "bridge" and not cell.member.board


def _explained(rows: list[tuple[Box, Cell, list[_Share]]]) -> str:
    """What the words in the table mean, of those that are in it."""
    shares = [share for _, _, found in rows for share in found]
    if not shares:
        return "No VM names a device."
    words = "An option such as hostpci0: the VM names the device."
    if any(share.words == _AS_WELL for share in shares):
        words += " As well: no option of the VM names it, and its start takes it all the same, with the IOMMU group."
    if any(share.tone == "danger" for share in shares):
        words += " With a triangle: the start would take it from who has it now."
    return words


def _shares(cell: Cell) -> list[_Share]:
    member = cell.member
    found = [_Share(holder.vmid, "guest", "has it") for holder in member.holders]
    held = {share.vmid for share in found}
    harmful = bool(member.use or member.holders)
    found += [_Share(naming.vmid, "danger" if harmful else "named", naming.option) for naming in member.named if naming.vmid not in held]
    found += [_Share(vmid, "danger" if harmful else "warning", _AS_WELL) for vmid in member.also if vmid not in held]
    return sorted(found, key=lambda share: share.vmid)


def _kind(cell: Cell) -> str:
    """What kind of device it is, by its class (pci.ids)."""
    code = cell.member.device.class_code
    return "usb" if code >> 8 == _USB_CONTROLLER else _KINDS_BY_BASE.get(code >> 16, "other")


def _kinds(cells: list[Cell]) -> Markup | None:
    """The list that leaves the devices of one kind; None where there are few."""
    there = {_kind(cell) for cell in cells}
    if len(cells) <= _FEW_ROWS or len(there) < 2:
        return None
    options = [tag("option", words, value=f"k-{kind}") for kind, words in _KINDS.items() if kind in there]
    choice = tag("select", tag("option", "all devices", value="any"), options, id="by-kind")
    return tag("form", tag("label", "Show ", choice), class_="filter kinds", autocomplete="off", aria_label="Filter of devices")


def _row(box: Box, cell: Cell, shares: list[_Share], columns: list[int], slot: str) -> Markup:
    device = cell.member.device
    group = tag("a", box.group.name, href=f"#group{box.group.name}") if box.group.name else "none"
    shared = tag("span", "shared", class_="soft small") if box.group.state == "shared" else None
    by_column = [[share for share in shares if share.vmid == vmid] for vmid in columns]
    cells = [tag("td", map(_mark, mine), data_of=f"VM {vmid}" if mine else None) for vmid, mine in zip(columns, by_column, strict=True)]
    return tag(
        "tr",
        tag("th", device.words, tag("span", tag("code", device.address), f", {slot}" if slot else None), scope="row"),
        tag("td", group, " ", shared, data_of="Group"),
        tag("td", _now(box, cell), data_of="Now"),
        cells,
        tag("td", _listed(shares), data_of="VMs" if shares else None) if shares and not columns else None,
        class_=f"k-{_kind(cell)}",
    )


def _now(box: Box, cell: Cell) -> Markup:
    whose = tree.whose(cell.member)
    # What shares its group with a device in use, or is in none, cannot be had.
    whose = "idle" if whose == "free" and not box.group.free else whose
    words = cell.who if cell.whose == whose and whose != "host" else _NOW.get(whose, cell.who)
    return tag("span", icon(ICONS.get(whose, whose)), words, class_=f"who {whose}")


def _mark(share: _Share) -> Markup:
    return tag("span", icon(share.tone if share.tone in ("danger", "warning") else "guest"), share.words, class_=f"who {share.tone}")


def _listed(shares: list[_Share]) -> Iterator[Markup]:
    for share in shares[:_LISTED]:
        yield tag(
            "span",
            icon(share.tone if share.tone in ("danger", "warning") else "guest"),
            f"VM {share.vmid} {share.words}",
            class_=f"who {share.tone}",
        )
    if len(shares) > _LISTED:
        yield join(f" and {len(shares) - _LISTED} more")


# -- where they sit ---------------------------------------------------------------------------------------------------


def topology(report: Report) -> Markup | None:
    """The map of the devices below ports and switches; None where there is nothing on it."""
    if isinstance(report.groups, Unread):
        return None
    shown = [root for root in places.roots(report) if any(place.matters for place in root.places)]
    if not shown:
        return None
    empty = places.empty_slots(report)
    slots = ", ".join(f"{slot.name}{f' (x{slot.lanes})' if slot.lanes else ''}" for slot in empty)
    return tag(
        "section",
        tag("h2", "Where the devices sit", id="topology"),
        tag("p", _introduction(report), class_="soft small"),
        tag("ul", (_root(root, report) for root in shown), class_="topo"),
        tag("p", f"Empty {'slots' if len(empty) != 1 else 'slot'}: {slots}", class_="small") if empty else None,
        aria_labelledby="topology",
    )


def _introduction(report: Report) -> str:
    text = "Links as they are now, of what the device could have: a graphics card lowers its speed when idle, and fewer lanes mean another slot."
    if isinstance(report.hardware.slots, Unread):
        return f"{text} The names of the slots cannot be read: {report.hardware.slots.why}."
    return text if report.hardware.slots else f"{text} The firmware names no slots."


def _root(root: RootBus, report: Report) -> Markup:
    cpus = places.cpus_of(report, root.numa)
    numa = f", NUMA node {root.numa}{f' (CPUs {cpus})' if cpus else ''}" if root.numa >= 0 else ""
    return tag("li", tag("p", tag("span", tag("b", f"Root bus {root.name}"), numa), class_="at"), _level(root.places, root.numa))


def _level(below: Iterable[Place], numa: int) -> Markup | None:
    shown = [_place(place, numa) for place in below if place.matters]
    rest = [place for place in below if not place.matters]
    ports = sum(place.cell.member.device.bridge for place in rest)
    parts = [counted(ports, "port") + " with nothing behind"] if ports else []
    parts += [counted(len(rest) - ports, "device") + " of the board"] if len(rest) > ports else []
    left = tag("li", tag("p", ", ".join(parts), class_="at soft")) if parts else None
    return tag("ul", shown, left) if shown or left else None


def _place(place: Place, numa: int) -> Markup:
    device = place.cell.member.device
    group = tag("a", f"group {place.box.group.name}", href=_anchor(place.box)) if place.box.group.name else None
    link = place.link
    details = (
        tag("span", f"slot {place.slot}", class_="slot") if place.slot else None,
        group,
        tag("span", places.link_words(link), class_=None if link.width >= link.max_width else "warning narrow") if link else None,
        tag("span", f"NUMA node {device.numa}") if device.numa not in (-1, numa) else None,
        tag("span", f"serial {device.serial}", class_="soft") if device.serial else None,
        tag("span", f"{len(device.virtfns)} of {counted(device.total_vfs, 'virtual function')}", class_="soft")
        if device.total_vfs
        else None,
    )
    name = tag("span", place.kind, class_="soft") if place.kind else tag("b", device.words)
    who = None if place.cell.whose == "bridge" else tag("span", place.cell.who, class_=f"who {place.cell.whose}")
    line = tag("p", tag("span", class_=f"sq {place.cell.whose}"), tag("code", device.address), name, who, details, class_="at")
    hidden = device.vfio and device.class_code >> 8 == _USB_CONTROLLER
    usb = (_NOT_VISIBLE,) if hidden else place.usb
    plugged = tag("ul", (tag("li", tag("p", "USB: ", tag("bdi", each), class_="at")) for each in usb)) if usb else None
    return tag("li", line, plugged, _level(place.below, numa))


def _anchor(box: Box) -> str:
    return "#idle" if box.level == "idle" else f"#group{box.group.name}"
