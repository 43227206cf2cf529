"""A node's summary as JSON text: common attributes of devices are written once, and it is never longer than LIMIT bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from pvehooks.values import Holder, HwRng, Iommu, Unread, Use
from pvehooks.values.pci import does_work
from pvehooks.values.summaries import DescribedDevice, DeviceKind, FailedStartSummary, Hardware, NextBootSummary, NodeDetails, Summary

FORMAT = 1
LIMIT = (16 << 10) - 1
# Long lists are cut, so that there is always room for devices.
_NAMED = 20
_RULES = 40
_SENTENCE = 120
_REASON = 240
_HOOKSCRIPTS = 3000
_BRIDGES = 2500
_USES = 4
_VERSION = 64
_FAILURES = 5
# For what own settings and failed starts take, each.
_DETAILS = 1200
_UNKNOWN_RESET = "?"
_MAX_NUMBER = 1 << 53


class SummaryError(ValueError):
    """A text that is no summary; the message says why."""


# -- writing ----------------------------------------------------------------------------------------------------------


def dump(summary: Summary, wanted: frozenset[str] = frozenset()) -> bytes:
    """The summary as text. Devices that do not fit are left out, whole IOMMU groups at a time, and counted.

    First to stay are the groups with addresses that are `wanted`, then those with devices of kinds that people pass through; VFs go before
    physical functions.
    """
    document = _document(summary)
    if isinstance(summary.hardware, Unread):
        return _text({**document, "hardware": summary.hardware.why[:_REASON]})
    order = _by_weight(summary.hardware, wanted)
    whole = _keeping(document, summary.hardware, order)
    if len(whole) <= LIMIT:
        return whole
    fits, too_many = 0, len(order)
    while fits + 1 < too_many:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if len(_keeping(document, summary.hardware, order[:middle])) <= LIMIT else (fits, middle)
    return _keeping(document, summary.hardware, order[:fits])


def _keeping(document: Mapping[str, object], hardware: Hardware, groups: list[list[str]]) -> bytes:
    """The text with the devices of these groups only."""
    return _text({**document, "hardware": _hardware(hardware, [address for group in groups for address in group])})


def _text(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def _document(summary: Summary) -> dict[str, object]:
    worst = sorted(summary.rules.items(), key=lambda item: (-item[1], item[0]))[:_RULES]
    hookscripts: dict[str, str] = {}
    room = _HOOKSCRIPTS
    for volid, trouble in sorted(summary.hookscripts.items(), key=lambda item: (not item[1], item[0])):
        room -= len(json.dumps(volid)) + len(json.dumps(trouble[:_SENTENCE])) + 2
        if room < 0:
            break
        hookscripts[volid] = trouble[:_SENTENCE]
    return {
        **_of_starts(summary),
        "format": FORMAT,
        "version": summary.version,
        "written": summary.written,
        "mode": {"guard": summary.guard_mode, "rng": summary.rng_mode},
        "guests": summary.guests,
        "guard": {"passing": summary.passing, "guarded": summary.guarded, "unguarded": list(summary.unguarded[:_NAMED])},
        "would_block": summary.would_block,
        "blocked": list(summary.blocked[:_NAMED]),
        "must_not": {"count": summary.must_not_count, "guests": list(summary.must_not[:_NAMED])},
        "findings": dict(summary.findings),
        "of_node": dict(summary.of_node),
        "rules": dict(sorted(worst)),
        "hookscripts": dict(sorted(hookscripts.items())),
        **({} if summary.details is None else {"details": _details(summary.details)}),
    }


def _details(details: NodeDetails) -> dict[str, object]:
    """The first settings and failed starts that fit."""
    settings = _fitting([[name, value[:_SENTENCE]] for name, value in sorted(details.own_settings.items())])
    failures = _fitting([[each.vmid, each.ended, each.why[:_SENTENCE]] for each in details.failures[:_FAILURES]])
    boot = details.next_boot
    document: dict[str, object] = {
        "pve": details.pve[:_VERSION],
        "kernel": details.kernel[:_VERSION],
        "next_kernel": details.next_kernel[:_VERSION],
        "rng0": [details.rng_given, details.rng_lacking, *details.rng_guests[:_NAMED]],
        "settings": settings,
        "settings_left_out": details.settings_left_out + len(details.own_settings) - len(settings),
        "next_boot": None if boot is None else [*boot._replace(kernel=boot.kernel[:_VERSION], guests=boot.guests[:_NAMED])],
        "failed": None if details.failed_starts is None else [details.failed_starts, *failures],
    }
    return {key: value for key, value in document.items() if value not in ("", 0, [], None)}


def _fitting(rows: list[list[object]]) -> list[list[object]]:
    """The first rows, as many as there is room for."""
    room, kept = _DETAILS, []
    for row in rows:
        room -= len(json.dumps(row)) + 1
        if room < 0:
            break
        kept.append(row)
    return kept


def _of_starts(summary: Summary) -> dict[str, object]:
    """What starts need. With too many bridges none is published: those that are cut off would look as if they were missing."""
    bridges = None if summary.bridges is None else " ".join(summary.bridges)
    document = {"bridges": bridges, "cpus": summary.cpus, "qemu": list(summary.qemu) if summary.qemu else None}
    fits = bridges is not None and len(json.dumps(bridges)) <= _BRIDGES
    return {key: value for key, value in document.items() if value is not None and (fits or key != "bridges")}


def _by_weight(hardware: Hardware, wanted: frozenset[str]) -> list[list[str]]:
    """The addresses by group, the most important first; a device in no group is a group of its own."""
    groups: dict[str, list[str]] = {}
    for address in sorted(hardware.devices):
        groups.setdefault(hardware.devices[address].group or address, []).append(address)

    def weight(addresses: list[str]) -> tuple[int, str]:
        kinds = [hardware.devices[address].kind for address in addresses]
        if any(address in wanted or address.rpartition(".")[0] in wanted for address in addresses):
            return 0, addresses[0]
        # Those that are often passed through are left out last.
        if not any(does_work(kind.class_code) for kind in kinds):
            return 3, addresses[0]
        return (2 if all(kind.physfn for kind in kinds) else 1), addresses[0]

    return sorted(groups.values(), key=weight)


def _hardware(hardware: Hardware, kept: Iterable[str]) -> dict[str, object]:
    kept = sorted(kept)
    kinds: dict[DeviceKind, list[str]] = {}
    for address in kept:
        described = hardware.devices[address]
        kinds.setdefault(described.kind, []).append(f"{_short(address)}={described.group}" if described.group else _short(address))
    reasons: dict[str, list[str]] = {}
    for address in kept:
        if address in hardware.unread:
            reasons.setdefault(hardware.unread[address][:_REASON], []).append(_short(address))
    uses = {_short(each): [_use(use) for use in hardware.uses[each][:_USES]] for each in kept if hardware.uses.get(each)}
    holders = {_short(each): [_holder(one) for one in hardware.holders[each][:_USES]] for each in kept if hardware.holders.get(each)}
    document: dict[str, object] = {
        "looked": hardware.looked,
        "iommu": [*hardware.iommu],
        "hwrng": [*hardware.hwrng],
        "devices": [_kind(kind) | {"at": " ".join(places)} for kind, places in kinds.items()],
        "bridges": " ".join(_short(address) for address in hardware.bridges) if len(kept) == len(hardware.devices) else "",
        "uses": uses,
        "unread": {why: " ".join(addresses) for why, addresses in reasons.items()},
        "holders": holders,
        "left_out": hardware.left_out + len(hardware.devices) - len(kept),
    }
    return {key: value for key, value in document.items() if value not in ("", {}, 0) or key == "looked"}


def _short(address: str) -> str:
    """The address without the domain that nearly all devices are in."""
    return address.removeprefix("0000:")


def _use(use: Use) -> list[object]:
    return [use.sentence[:_SENTENCE], *([use.vmid, int(use.remark)] if use.vmid or use.remark else [])]


def _holder(holder: Holder) -> list[object]:
    return [holder.vmid, holder.label[:_SENTENCE], holder.how, *([1] if holder.mdev else [])]


def _kind(kind: DeviceKind) -> dict[str, object]:
    document: dict[str, object] = {
        "id": _pair(kind.vendor, kind.device),
        "sub": _pair(*kind.subsystem) if kind.subsystem else "",
        "class": f"{kind.class_code:06x}" if kind.class_code >= 0 else "",
        "driver": kind.driver,
        "vfio": int(kind.vfio and kind.driver != "vfio-pci"),
        "of": _short(kind.physfn),
        "reset": _UNKNOWN_RESET if kind.reset_methods is None else " ".join(kind.reset_methods),
        "mdev": dict(kind.mdev_types),
        "vgpus": int(kind.vgpus),
        "framebuffer": kind.framebuffer,
        "dead": int(kind.dead),
        "boot_vga": int(kind.boot_vga),
        "reserved": " ".join(f"{first:x}-{last:x}" for first, last in kind.reserved),
        "behind": " ".join(map(_short, kind.behind)),
    }
    return {key: value for key, value in document.items() if value not in ("", {}, 0)}


def _pair(first: int, second: int) -> str:
    return f"{first:04x}:{second:04x}" if first >= 0 and second >= 0 else ""


# -- reading ----------------------------------------------------------------------------------------------------------


def load(content: bytes) -> Summary:
    """Parses a summary; unknown keys of a newer version are ignored. Raises SummaryError."""
    if len(content) > LIMIT:
        raise SummaryError("is larger than any summary")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise SummaryError("is no JSON") from None
    try:
        if document["format"] != FORMAT:
            raise SummaryError("was written by another version of pvehooks")
        return _summary(document)
    except SummaryError:
        raise
    except KeyError as missing:
        raise SummaryError(f"lacks {missing}") from None
    except (TypeError, ValueError, IndexError) as error:
        raise SummaryError(f"cannot be used ({str(error)[:60]})") from None


def _summary(document: Mapping[str, object]) -> Summary:
    mode, guard, hardware = _dict(document["mode"]), _dict(document["guard"]), document["hardware"]
    must_not = _dict(document.get("must_not", {"count": 0, "guests": []}))
    return Summary(
        version=_str(document["version"]),
        written=_int(document["written"]),
        guard_mode=_str(mode["guard"]),
        rng_mode=_str(mode["rng"]),
        guests=_int(document["guests"]),
        passing=_int(guard["passing"]),
        guarded=_int(guard["guarded"]),
        unguarded=_ints(guard["unguarded"]),
        blocked=_ints(document["blocked"]),
        would_block=_int(document["would_block"]),
        findings=_counts(document["findings"]),
        of_node=_counts(document["of_node"]),
        rules=_counts(document["rules"]),
        hookscripts={_str(volid): _str(trouble) for volid, trouble in _dict(document["hookscripts"]).items()},
        hardware=Unread(hardware) if isinstance(hardware, str) else _read_hardware(_dict(hardware)),
        bridges=tuple(_words(document, "bridges")) if "bridges" in document else None,
        cpus=_int(document["cpus"]) if "cpus" in document else None,
        qemu=_version(document["qemu"]) if "qemu" in document else None,
        must_not=_ints(must_not["guests"]),
        must_not_count=_int(must_not["count"]),
        details=_read_details(_dict(document["details"])) if "details" in document else None,
    )


def _read_details(document: Mapping[str, object]) -> NodeDetails:
    given, lacking, *guests = _ints(document.get("rng0", [0, 0]))
    failed = _list(document.get("failed", []))
    return NodeDetails(
        pve=_str(document.get("pve", "")),
        kernel=_str(document.get("kernel", "")),
        next_kernel=_str(document.get("next_kernel", "")),
        rng_given=given,
        rng_lacking=lacking,
        rng_guests=tuple(guests),
        own_settings=dict(map(_read_setting, _list(document.get("settings", [])))),
        settings_left_out=_int(document.get("settings_left_out", 0)),
        next_boot=read_next_boot(document["next_boot"]) if "next_boot" in document else None,
        failed_starts=_int(failed[0]) if failed else None,
        failures=tuple(map(_read_failure, failed[1:])),
    )


def _read_setting(row: object) -> tuple[str, str]:
    name, value = map(_str, _list(row))
    return name, value


def read_next_boot(row: object) -> NextBootSummary:
    """What was written as a list of the fields; raises TypeError, ValueError."""
    looked, kernel, will, will_not, must_not, unknown, guests, losses, stops = _list(row)[:9]
    counts = _int(will), _int(will_not), _int(must_not), _int(unknown)
    return NextBootSummary(_int(looked), _str(kernel), *counts, _ints(guests), _int(losses), bool(stops))


def _read_failure(row: object) -> FailedStartSummary:
    vmid, ended, why = _list(row)[:3]
    return FailedStartSummary(_int(vmid), _int(ended), _str(why))


def _read_hardware(document: Mapping[str, object]) -> Hardware:
    iommu, hwrng = _list(document["iommu"]), _list(document["hwrng"])
    devices: dict[str, DescribedDevice] = {}
    for each in _list(document.get("devices", [])):
        row = _dict(each)
        kind = _read_kind(row)
        for place in _words(row, "at"):
            address, _, group = place.partition("=")
            devices[_long(address)] = DescribedDevice(kind, group)
    unread = {_long(each): why for why, addresses in _dict(document.get("unread", {})).items() for each in _str(addresses).split()}
    uses = {_long(each): tuple(map(_read_use, _list(rows))) for each, rows in _dict(document.get("uses", {})).items()}
    holders = {_long(each): tuple(map(_read_holder, _list(rows))) for each, rows in _dict(document.get("holders", {})).items()}
    remaps = iommu[3]
    return Hardware(
        looked=_int(document["looked"]),
        iommu=Iommu(bool(iommu[0]), _str(iommu[1]), _str(iommu[2]), None if remaps is None else bool(remaps), bool(iommu[4])),
        hwrng=HwRng(bool(hwrng[0]), _str(hwrng[1])),
        devices=devices,
        bridges=tuple(map(_long, _words(document, "bridges"))),
        uses=uses,
        unread=unread,
        holders=holders,
        left_out=_int(document.get("left_out", 0)),
    )


def _read_kind(row: Mapping[str, object]) -> DeviceKind:
    vendor, device = _ids(_str(row.get("id", ""))) or (-1, -1)
    reset = _str(row.get("reset", ""))
    driver = _str(row.get("driver", ""))
    return DeviceKind(
        vendor=vendor,
        device=device,
        subsystem=_ids(_str(row.get("sub", ""))),
        class_code=int(_str(row["class"]), 16) if "class" in row else -1,
        driver=driver,
        vfio=driver == "vfio-pci" or bool(row.get("vfio")),
        physfn=_long(_str(row["of"])) if "of" in row else "",
        reset_methods=None if reset == _UNKNOWN_RESET else tuple(reset.split()),
        mdev_types=tuple(sorted(_counts(row.get("mdev", {})).items())),
        vgpus=bool(row.get("vgpus")),
        framebuffer=_str(row.get("framebuffer", "")),
        dead=bool(row.get("dead")),
        boot_vga=bool(row.get("boot_vga")),
        reserved=tuple(map(_read_region, _words(row, "reserved"))),
        behind=tuple(map(_long, _words(row, "behind"))),
    )


def _long(address: str) -> str:
    return address if address.count(":") > 1 else f"0000:{address}"


def _ids(text: str) -> tuple[int, int] | None:
    first, _, second = text.partition(":")
    return (int(first, 16), int(second, 16)) if text else None


def _read_region(word: str) -> tuple[int, int]:
    first, _, last = word.partition("-")
    return int(first, 16), int(last, 16)


def _read_use(row: object) -> Use:
    sentence, vmid, remark = (*_list(row), 0, 0)[:3]
    return Use(_str(sentence), _int(vmid), bool(remark))


def _read_holder(row: object) -> Holder:
    vmid, label, how, *mdev = _list(row)
    return Holder(_int(vmid), _str(label), _str(how), bool(mdev and mdev[0]))


def _version(value: object) -> tuple[int, int]:
    major, minor = _ints(value)
    return major, minor


def _words(document: Mapping[str, object], key: str) -> list[str]:
    return _str(document.get(key, "")).split()


def _counts(value: object) -> dict[str, int]:
    return {_str(name): _int(count) for name, count in _dict(value).items()}


def _ints(value: object) -> tuple[int, ...]:
    return tuple(map(_int, _list(value)))


def _dict(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError("no object where one belongs")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("no list where one belongs")
    return value


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text where one belongs")
    return value


def _int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_NUMBER:
        raise TypeError("no number where one belongs")
    return value
