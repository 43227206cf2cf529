"""Guests: a VM's config read, taken apart, and put beside what is known of the guest (running? ours? old?)."""

from __future__ import annotations

import json

from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.pci import hostpci
from pvehooks.facts.pci.hostpci import Mappings
from pvehooks.formats import guestconfig, propertystring
from pvehooks.formats.reader import DeclaredByNode
from pvehooks.host import Host
from pvehooks.records import guests as records
from pvehooks.values import (
    Accepted,
    Allowance,
    Attachment,
    BaselineStatus,
    BootOrder,
    GivenTag,
    Guest,
    GuestConfig,
    Hookscript,
    HostPci,
    Options,
    Properties,
    RecordedRng,
    Unread,
)
from pvehooks.values.base import NamedTuple, cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from pvehooks.facts.storage.storages import StorageSections
    from pvehooks.records import baseline
    from pvehooks.values.images import ImageFile, PinnedFirmware

# pmxcfs' limit of a file.
CONFIG_LIMIT = 1 << 20
_QEMU_MODELS = ("/usr/share/kvm/cpu-models-x86_64.json", "/usr/share/kvm/cpu-models-aarch64.json")


class GuestContext(NamedTuple):
    """What is known beside the configs, read once for many guests; mappings and storages when a guest first needs them."""

    running: Container[int]
    recorded: frozenset[int]
    cluster_baseline: baseline.Baseline | None
    mappings: Mappings
    # None: each guest reads them for itself.
    storages: StorageSections | None
    cpu_models: frozenset[str]
    # What this node's PVE has and we do not know.
    declared: DeclaredByNode | None = None
    # Records that were read already, by VMID: their bytes, None where there is none.
    records_read: Mapping[int, bytes | None] = {}


def gather_context(host: Host, node: str, cluster_baseline: baseline.Baseline | None) -> GuestContext:
    """What guests are read with, as it is now."""
    from pvehooks.facts.guests import ownoption, running
    from pvehooks.facts.storage.storages import StorageSections

    return GuestContext(
        running.RunningVmids(host),
        frozenset(records.known_vmids(host)),
        cluster_baseline,
        Mappings(host, node),
        StorageSections(host),
        known_cpu_models(host),
        ownoption.DeclaredOptions(host),
    )


def start_context(host: Host, node: str, vmid: int) -> GuestContext:
    """What a guest that is about to start on the node is seen against: as little as possible is read."""
    return GuestContext(frozenset(), frozenset({vmid}), None, Mappings(host, node), None, frozenset(), _DeclaredOnDemand(host))


class _DeclaredOnDemand(DeclaredByNode):
    """What is read, and imported, only for a config with something that we do not know."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __contains__(self, option: object) -> bool:
        return option in self._declared

    def has(self, option: str, name: str, value: str) -> bool:
        return self._declared.has(option, name, value)

    def has_section(self, name: str) -> bool:
        return self._declared.has_section(name)

    @cached_property
    def _declared(self) -> DeclaredByNode:
        from pvehooks.facts.guests import ownoption

        return ownoption.DeclaredOptions(self._host)


def known_cpu_models(host: Host) -> frozenset[str]:
    """The CPU models of this node that a `cpu` option may name beside those we know: PVE drops a line with any other.

    These are the custom ones, and those that the node's QEMU lists (qemu-server, CPUConfig.pm, initialize_cpu_models).
    """
    from pvehooks.facts.node import cpu

    custom = cpu.cpu_models(host)
    names = set() if isinstance(custom, Unread) else {f"custom-{name}" for name in custom}
    for path in _QEMU_MODELS:
        try:
            names |= json.loads(host.read(path)).keys()
        except (OSError, ValueError, AttributeError, RecursionError):
            continue
    return frozenset(names)


def parse(host: Host, raw: bytes) -> GuestConfig:
    """PVE's reading of a config on this node."""
    from pvehooks.facts.guests import ownoption

    return guestconfig.parse(raw, known_cpu_models(host), ownoption.DeclaredOptions(host))


def read_raw(host: Host, node: str, vmid: int) -> bytes:
    """The bytes of a config (one byte over the limit when it is larger); raises OSError."""
    return host.read(node_facts.config_path(node, vmid), limit=CONFIG_LIMIT)


def read_raw_or_error(host: Host, node: str, vmid: int) -> bytes | OSError:
    """The bytes of a config, or the error that there were instead."""
    try:
        return read_raw(host, node, vmid)
    except OSError as error:
        return error


def read(host: Host, node: str, vmid: int, guest_context: GuestContext) -> Guest:
    """The guest; one whose config cannot be read has no `config` and a problem that says why."""
    return parse_guest(host, node, vmid, read_raw_or_error(host, node, vmid), guest_context)


def parse_guest(host: Host, node: str, vmid: int, raw: bytes | OSError, guest_context: GuestContext) -> Guest:
    """The guest whose config holds these bytes."""
    if isinstance(raw, OSError):
        why = "vanished while it was looked at" if isinstance(raw, FileNotFoundError) else f"cannot be read: {raw.strerror}"
        return _opaque(host, node, vmid, guest_context, ("config-unreadable", f"the config {why}"))
    if len(raw) > CONFIG_LIMIT:
        return _opaque(host, node, vmid, guest_context, ("config-too-large", "the config is larger than 1 MiB and is not examined"))
    config = guestconfig.parse(raw, guest_context.cpu_models, guest_context.declared)
    return ConfigGuest(vmid, node, config, problems(raw), host, guest_context)


def _opaque(host: Host, node: str, vmid: int, guest_context: GuestContext, problem: tuple[str, str]) -> Guest:
    return ConfigGuest(vmid, node, None, (problem,), host, guest_context)


# What a guest is made of, and what was read of its record; all else in it follows from its config. Rules on the node ask all guests for the template.
_KEPT = frozenset(("vmid", "node", "config", "problems", "running", "_host", "_around", "_record", "template"))


class GuestsInTurn:
    """Guests of a node, each there while it is looked at: their configs are kept as bytes, a tenth of what they are taken apart.

    They are read when first asked for.
    """

    def __init__(self, host: Host, node: str, vmids: Iterable[int], guest_context: GuestContext) -> None:
        self._host = host
        self._node = node
        self._vmids = tuple(vmids)
        self._around = guest_context

    def __len__(self) -> int:
        return len(self._vmids)

    def __contains__(self, guest: object) -> bool:
        return isinstance(guest, Guest) and guest.node == self._node and guest.vmid in self._vmids

    def __iter__(self) -> Iterator[Guest]:
        for vmid, raw in self._raw:
            yield parse_guest(self._host, self._node, vmid, raw, self._around_then)

    @cached_property
    def _around_then(self) -> GuestContext:
        """What was around them when they were first asked for: that one runs is looked up once."""
        running = self._around.running
        return self._around._replace(running=frozenset([vmid for vmid in self._vmids if vmid in running]))

    @cached_property
    def _raw(self) -> tuple[tuple[int, bytes | OSError], ...]:
        return tuple([(vmid, read_raw_or_error(self._host, self._node, vmid)) for vmid in self._vmids])


class ConfigGuest(Guest):
    """A guest by its config; what follows from that, and from what we remember of the guest, is worked out when first asked for."""

    def __init__(
        self,
        vmid: int,
        node: str,
        config: GuestConfig | None,
        problems: tuple[tuple[str, str], ...],
        host: Host,
        guest_context: GuestContext,
    ) -> None:
        super().__init__(vmid, node, config, problems, vmid in guest_context.running)
        self._host = host
        self._around = guest_context

    def forget(self) -> None:
        known = self.__dict__
        for name in known.keys() - _KEPT:
            del known[name]

    @cached_property
    def options(self) -> Options:
        return self.config.effective() if self.config else {}

    # Asked by most rules.

    @cached_property
    def template(self) -> bool:
        return super().template

    @cached_property
    def uefi(self) -> bool:
        return super().uefi

    @cached_property
    def passes_through(self) -> bool:
        return super().passes_through

    @cached_property
    def label(self) -> str:
        return super().label

    @cached_property
    def _parsed(self) -> dict[str, Properties]:
        return {}

    def properties(self, option: str) -> Properties:
        known = self._parsed
        if option not in known:
            known[option] = _property(self.options, option)
        return known[option]

    @cached_property
    def boot(self) -> BootOrder:
        from pvehooks.formats.bootorder import devices

        return devices(self.options)

    @cached_property
    def hostpci(self) -> tuple[HostPci, ...]:
        return hostpci.read(self.options, self._around.mappings)

    @cached_property
    def args_devices(self) -> tuple[Mapping[str, str], ...]:
        args = str(self.options.get("args", ""))
        if "-device" not in args:
            return ()
        from itertools import pairwise

        from pvehooks.formats import qemuargs

        words = qemuargs.split(args) or ()
        given = (word.partition(",") for before, word in pairwise(words) if before in ("-device", "--device"))
        return tuple(
            {"driver": driver, **dict(part.partition("=")[::2] for part in rest.split(","))}
            for driver, _, rest in given
            if not driver.startswith("{")
        )

    @cached_property
    def args_sets(self) -> tuple[tuple[str, str, str], ...]:
        args = str(self.options.get("args", ""))
        if "-set" not in args:
            return ()
        from itertools import pairwise

        from pvehooks.formats import qemuargs

        words = qemuargs.split(args) or ()
        given = (word.partition("=") for before, word in pairwise(words) if before in ("-set", "--set") and word.startswith("device."))
        names = ((*name.removeprefix("device.").rpartition("."), value) for name, _, value in given)
        return tuple((device, key, value) for device, _, key, value in names)

    @cached_property
    def args_pci(self) -> tuple[HostPci, ...]:
        args = str(self.options.get("args", ""))
        if "vfio" not in args:
            return ()
        from pvehooks.facts.pci import holders
        from pvehooks.formats import qemuargs

        # PVE gives QEMU none of the words of args that it cannot take apart.
        given = holders.assigned(self._host, qemuargs.split(args) or ())
        addresses = dict.fromkeys(address for address, _, mdev in given if not mdev)
        return tuple(HostPci("args", ((address,),), "", {"host": address}) for address in addresses)

    @cached_property
    def rng(self) -> Properties | None:
        config = self.config
        if config is None:
            return None
        return _property(config.pending if "rng0" in config.pending else config.main, "rng0") or None

    @cached_property
    def cpu(self) -> tuple[str, tuple[str, ...]]:
        properties = _property(self.options, "cpu")
        flags = str(properties.get("flags", ""))
        return str(properties.get("cputype", "")), tuple(flag for flag in flags.split(";") if flag)

    @cached_property
    def uuid(self) -> str | None:
        uuid = _property(self.options, "smbios1").get("uuid")
        return str(uuid) if uuid else None

    @cached_property
    def ctime(self) -> int | None:
        ctime = str(_property(self.options, "meta").get("ctime", ""))
        # PVE takes any number of digits; more than eleven are no time.
        return int(ctime) if ctime.isdecimal() and len(ctime) <= 11 else None

    @cached_property
    def baseline_status(self) -> BaselineStatus:
        from pvehooks.records.baseline import NOT_IN_BASELINE, fingerprint

        look, config = self._around.cluster_baseline, self.config
        return NOT_IN_BASELINE if look is None or config is None else look.status(self.vmid, self.ctime, fingerprint(config))

    @cached_property
    def accepted(self) -> Accepted | None:
        record = self._record
        return record.accepted.get(self._around.mappings.node) if record else None

    @cached_property
    def allowance(self) -> Allowance | None:
        record = self._record
        return record.allowance if record else None

    @cached_property
    def attachment(self) -> Attachment | None:
        record = self._record
        return record.attachment if record else None

    @cached_property
    def given_tag(self) -> GivenTag | None:
        record = self._record
        return record.tag if record else None

    @cached_property
    def firmware(self) -> PinnedFirmware | None:
        record = self._record
        return record.firmware if record else None

    @cached_property
    def image(self) -> ImageFile | None:
        pinned = self.firmware
        if pinned is None:
            return None
        from pvehooks.facts.storage import images
        from pvehooks.formats import qemuargs

        held = qemuargs.without(str(self.options.get("args", "")), pinned.args) is not None
        return images.look(self._host, pinned.volid, known=self._around.storages)._replace(in_args=held)

    @cached_property
    def _record(self) -> records.Record | None:
        """The guest's record; raises PmxcfsAway."""
        if self.config is None or self.vmid not in self._around.recorded:
            return None
        known, identity = self._around.records_read, records.Identity(self.uuid, self.ctime)
        if self.vmid in known:
            return records.of_guest(self.vmid, identity, known[self.vmid])
        return records.read(self._host, self.vmid, identity)

    @cached_property
    def hookscript(self) -> Hookscript | None:
        volid = str(self.options.get("hookscript", ""))
        if not volid:
            return None
        from pvehooks.facts.storage.storages import StorageSections
        from pvehooks.values.stubs import former_of

        storages = self._around.storages or StorageSections(self._host)
        found = storages.hookscript(volid)
        former = former_of(volid)
        if former and not found.trouble and (trouble := storages.hookscript(former).trouble):
            return found._replace(trouble=f"it runs {former} first, and {trouble}")
        return found

    @cached_property
    def recorded_rng(self) -> RecordedRng | None:
        config, record = self.config, self._record
        if config is None or record is None:
            return None
        if record.rng0 is None:
            return RecordedRng(record.admins_rng0.value, done=True, given=False) if record.admins_rng0 else None
        rng0 = record.rng0
        # A record left at "writing" means nothing unless the rng0 is there: the writer was ended before or after the write.
        done = rng0.state == "done" or rng0.value in (config.main.get("rng0"), config.pending.get("rng0"))
        return RecordedRng(rng0.value, done, rng0.state == "done")


def problems(raw: bytes) -> tuple[tuple[str, str], ...]:
    """What is wrong with the file as a whole: (rule id, words)."""
    found = []
    if not raw.strip():
        found.append(("config-empty", "the config is empty"))
    elif not raw.endswith(b"\n"):
        found.append(("config-cut-short", "the config does not end with a line end: it may have been cut off"))
    if b"\0" in raw:
        found.append(("config-binary", f"the config holds NUL bytes (the first at byte {raw.index(0)})"))
    if b"\r\n" in raw:
        found.append(("config-crlf", "the config has Windows line ends (CR LF)"))
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            found.append(("config-not-utf8", f"line {line} of the config is not UTF-8 (byte {raw[error.start]:#04x})"))
    return tuple(found)


def _property(options: Options, name: str) -> Properties:
    value = options.get(name)
    if value is None:
        return {}
    try:
        return propertystring.parts_of(name, str(value), propertystring.as_accepted)
    except propertystring.PropertyError:
        return {}
