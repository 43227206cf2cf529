"""Failed starts: the VM's config and its args."""

from __future__ import annotations

from re import Match

from pvehooks.causes.registry import CauseSet, Rank

CAUSES = CauseSet(of_vm=True)
_QEMU = "QEMU, system/qdev-monitor.c"


@CAUSES.cause(
    "id-taken",
    r"Duplicate (?:device )?ID '(?P<id>[^']+)'|(?:device|netdev|drive) '(?P<other>[^']+)' already exists",
    "Give what is in args another id: qm config {vmid}",
    _QEMU,
)
def id_taken(found: Match[str]) -> str:
    """Two devices of the VM have one id: something in args uses a name that Proxmox VE gives, or args name it twice."""
    return f"two devices of the VM have the id {found['id'] or found['other']}"


@CAUSES.cause(
    "slot-taken",
    r"PCI: slot (?P<slot>\d+) function (?P<function>\d+) (?:already occupied by|not available for)|PCI: no slot/function available|slot \d+ is not available|no (?:free|more) slots",
    "Put what is in args at another addr=: qm config {vmid}; what QEMU is given: qm showcmd {vmid} --pretty",
    "QEMU, hw/pci/pci.c",
    rules=("args-slot-taken",),
)
def slot_taken(found: Match[str]) -> str:
    """Two devices of the VM are to have one place on its PCI bus: an addr= in args is one that Proxmox VE uses, or the bus is full."""
    where = f"place {int(found['slot']):#x}" if found["slot"] else "a place"
    return f"{where} on the VM's PCI bus is taken"


@CAUSES.cause(
    "argument-not-known",
    r"kvm: (?P<option>-\w+) .*: (?P<why>Property '[^']+' not found|'[^']+' is not a valid device model name|[Ii]nvalid (?:option|parameter) ?'?[^']*'?|Parameter '[^']+' (?:is missing|expects .+))"
    r"|kvm: (?P<machine>Property '[^']+\.(?P<property>[^'.]+)' not found)|kvm: (?P<other>-\S+): invalid option|kvm: (?P<word>[^-\s:][^\s:]*): Could not open '(?P=word)'|can't apply global (?P<global>\S+): (?P<reason>.+)",
    "Put args right: qm config {vmid}; what QEMU is given: qm showcmd {vmid} --pretty",
    "QEMU, qapi/qmp-dispatch.c, qom/object.c",
    rank=Rank.PLACE,
)
def argument_not_known(found: Match[str]) -> str:
    """QEMU does not know an option, device or property. It stands in args, or this QEMU is of another version than qemu-server expects."""
    if found["machine"]:
        return f"the VM's machine has no {found['property']}: {found['machine']}"
    option = found["option"] or found["other"] or found["word"] or f"-global {found['global']}"
    return f"QEMU does not take {option}: {found['why'] or found['reason'] or 'invalid option'}"


@CAUSES.cause(
    "config-option-refused",
    r"(?:400 )?Parameter verification failed|unable to parse (?:value of|option|drive options|usb device|pci id|network options|volume ID|\w+ volume (?:name|filename)) ?'?(?P<what>[^']*)'?",
    "See what PVE reads: qm config {vmid}; what pvehooks makes of it: pvehooks check {vmid}",
    "qemu-server, PVE/QemuServer.pm",
    rank=Rank.PLACE,
    rules=("config-lines-dropped",),
)
def config_option_refused(found: Match[str]) -> str:
    """A value in the VM's config has a form that Proxmox VE does not take: edited by hand, or from a newer version."""
    return f"the VM's config has a value that PVE does not take{': ' + found['what'] if found['what'] else ''}"


_REFUSED = (
    r"cannot use mediated device with multifunction device",
    r"aarch64 cannot use IDE devices",
    r"Cannot set both 'host' and 'mapping'",
    r"Either 'host' or 'mapping' must be set",
    r"Total memory is bigger than \d+ ?MB",
    r"cannot enable memory hotplugging with custom NUMA topology",
    r"minimum memory must be \d+ ?MB",
    r"Memory hotplug does not work in combination with virtio-fs",
    r"memory size \(\d+\) must be aligned to \d+ for hotplugging",
    r"memory size '[^']*' is not a positive even integer; cannot use for hugepages",
    r"Memory size \S+ is not a multiple of the requested hugepages size|host only supports \S+ GB hugepages, but requested size",
    r"Missing (?:cid|port) for vsock",
    r"'snapshot' option is not yet supported for '-blockdev'|blockdev: 'size' is only supported for 'raw' format",
    r"unsupported architecture '[^']*'|don't know how to emulate architecture '[^']*'",
    r"no OVMF images known for architecture '[^']*'",
    r"efidisk format must be specified",
    r"Attempting to configure (?:SEV-SNP|TDX) with pflash devices",
    r"not a CIDR: \S+",
    r"Cloud-Init sum of snippets too big",
    r"\S+ is not in the snippets directory",
    r"network interface '[^']*' has no mac address",
    r"VM-specific CPU flags must be a subset of: .{0,60}",
    r"Property 'reported-model' not allowed in VM-specific CPU config",
    r"volume '[^']+' - not a QEMU image format '[^']*'",
    r"\w+: explicit media parameter is required for iso images",
)


@CAUSES.cause(
    "config-cannot-work",
    f"(?P<what>{'|'.join(_REFUSED)})",
    "Change what it names: qm config {vmid}; the options are in qm(1)",
    "qemu-server, PVE/QemuServer/PCI.pm, Memory.pm, OVMF.pm, Cloudinit.pm, CPUConfig.pm, Drive.pm",
)
def config_cannot_work(found: Match[str]) -> str:
    """Options of the VM's config do not go together, or have a value that Proxmox VE cannot use. It says so in its own words before it starts QEMU."""
    return f"PVE refuses the VM's config: {found['what']}"


@CAUSES.cause(
    "config-not-there",
    r"Configuration file '(?P<file>[^']+)' does not exist|no such VM \('?(?P<vmid>\d+)'?\)",
    "See where it is: pvesh get /cluster/resources --type vm",
    "qemu-server, PVE/QemuConfig.pm",
)
def config_not_there(found: Match[str]) -> str:
    """The VM is not on this node: it was removed, or migrated meanwhile."""
    return "the VM's config is not on this node"


@CAUSES.cause(
    "vm-locked",
    r"VM is locked \((?P<lock>[\w-]+)\)",
    "Wait for the task that does it; where none runs any more: qm unlock {vmid}",
    "pve-guest-common, PVE/AbstractConfig.pm",
)
def vm_locked(found: Match[str]) -> str:
    """A backup, snapshot, clone or migration marks the config while it works. One that was broken off leaves the mark."""
    return f"the VM is locked: {found['lock']}"


@CAUSES.cause(
    "lock-not-had",
    r"can't lock file '(?P<file>[^']*lock-\d+\.conf)' - (?P<why>.+)",
    "See which task is at work: pvesh get /nodes/$(hostname)/tasks --source active",
    "pve-common, PVE/Tools.pm (lock_file)",
    rank=Rank.PLACE,
)
def lock_not_had(found: Match[str]) -> str:
    """Another task of the same VM was at work for longer than the ten seconds that Proxmox VE waits."""
    return "another task held the VM's lock"


@CAUSES.cause(
    "already-running",
    r"VM (?P<vmid>\d+) already running",
    "Nothing is to be done; see: qm status {vmid}",
    "qemu-server, PVE/QemuServer.pm (vm_start)",
)
def already_running(found: Match[str]) -> str:
    """A start was asked for while the VM ran: by a second click, by high availability, or by a script."""
    return "the VM runs already"


@CAUSES.cause(
    "guard-refused",
    r"pvehooks: VM (?P<vmid>\d+) (?:\([^)]*\) )?is not started: (?P<why>.+)",
    "See all of it with its remedies: pvehooks check {vmid}; to start it once all the same: pvehooks allow {vmid} --once --reason WHY",
    "pvehooks, the guard",
)
def guard_refused(found: Match[str]) -> str:
    """The guard examined the start and refused it, because Proxmox VE would have taken devices from the host, or could not have started the VM."""
    return f"the guard of pvehooks refused the start: {found['why']}"


@CAUSES.cause(
    "hookscript-not-usable",
    r"hookscript error for \d+ on (?P<phase>[\w-]+): script '(?P<script>[^']+)' (?P<why>does not exist|is not executable)|hookscript.*(?P<other>does not exist|not executable)",
    "Take it off, or put it there: qm set {vmid} --delete hookscript; see: pvehooks check {vmid}",
    "pve-guest-common, PVE/GuestHelpers.pm",
    rules=("hookscript-missing",),
    of_vm=False,
)
def hookscript_not_usable(found: Match[str]) -> str:
    """The VM's hookscript is not on this node, or not executable; Proxmox VE then starts the VM never. After a restore, clone or migration."""
    return f"the hookscript {found['script'] or ''} {found['why'] or found['other']}".replace("  ", " ")


@CAUSES.cause(
    "hookscript-failed",
    r"hookscript error for \d+ on (?P<phase>pre-start|post-start): (?P<why>.+)",
    "What it printed before says why; without it: qm set {vmid} --delete hookscript",
    "pve-guest-common, PVE/GuestHelpers.pm",
    rank=Rank.PLACE,
    of_vm=False,
)
def hookscript_failed(found: Match[str]) -> str:
    """The VM's hookscript ended with an error before the start, so Proxmox VE did not start it."""
    return f"the hookscript failed at {found['phase']}: {found['why']}"


@CAUSES.cause(
    "bus-not-there",
    r"Bus '(?P<bus>[^']+)' not found",
    "Give the device another bus (a disk or CD drive: scsi), or put args right: qm config {vmid}; what QEMU is given: qm showcmd {vmid} --pretty",
    _QEMU,
)
def bus_not_there(found: Match[str]) -> str:
    """A device of the VM is to sit on a bus that its machine type does not have: an IDE drive of a VM for ARM, or a bus that args name."""
    return f"the VM's machine has no bus {found['bus']}"


@CAUSES.cause(
    "bus-unit-taken",
    r"Can't create IDE unit (?P<unit>\d+), bus supports only \d+ units|IDE unit (?P<other>\d+) is in use|lun already used by '(?P<lun>[^']+)'",
    "Put the drive at another number: on q35 ide0 and ide2 exist, ide1 and ide3 do not; or make it a scsi or sata one: qm config {vmid}",
    "QEMU, hw/ide/ide-dev.c, hw/scsi/scsi-bus.c",
)
def bus_unit_taken(found: Match[str]) -> str:
    """Two drives of the VM are to have one place, or one sits at a place that its machine type does not have: each IDE bus of q35 takes one drive."""
    return "a drive of the VM has no place of its own on its bus"


@CAUSES.cause(
    "is-a-template",
    r"you can't start a vm if it's a template",
    "Start a clone of it: qm clone {vmid} NEWID --name NAME; then: qm start NEWID",
    "qemu-server, PVE/QemuServer.pm (vm_start)",
)
def is_a_template(found: Match[str]) -> str:
    """Templates are never started: their disks are read-only, and linked clones rest on them."""
    return "the VM is a template"


@CAUSES.cause(
    "rng-source-missing",
    r"cannot create VirtIO RNG device: source file '(?P<file>[^']+)' doesn't exist|passed-through RNG device: '(?P<device>/dev/hwrng)' exists, but",
    "Take the kernel's own source, which is always there: qm set {vmid} --rng0 source=/dev/urandom",
    "qemu-server, PVE/QemuServer/RNG.pm",
    rules=("rng-source-hwrng-absent",),
    of_vm=False,
)
def rng_source_missing(found: Match[str]) -> str:
    """The VM's rng0 takes its numbers from /dev/hwrng, and this node has no such hardware, or none that works."""
    return f"the source of the VM's rng0 is not there: {found['file'] or found['device']}"
