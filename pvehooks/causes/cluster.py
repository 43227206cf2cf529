"""Failed starts: cluster, systemd, time, migration."""

from __future__ import annotations

from re import Match

from pvehooks.causes.registry import CauseSet, Rank

CAUSES = CauseSet()


@CAUSES.cause(
    "no-quorum",
    r"cluster not ready - no quorum\?|unable to open file '/etc/pve/.+' - Permission denied|error with cfs lock .*no quorum",
    "See the cluster: pvecm status; bring the other nodes back; two nodes alone: pvecm expected 1 (only while the other is surely off)",
    "pve-cluster, PVE/Cluster.pm (check_cfs_quorum)",
)
def no_quorum(found: Match[str]) -> str:
    """Without the majority of its nodes a cluster lets nothing be changed, and no VM be started: another node might have started it."""
    return "the cluster has no quorum"


@CAUSES.cause(
    "pmxcfs-away",
    r"ipcc_send_rec\[\d+\] failed: (?P<why>.+)|unable to open file '/etc/pve/.+' - (?:Transport endpoint is not connected|Input/output error)",
    "See it: systemctl status pve-cluster; start it anew: systemctl restart pve-cluster",
    "pve-cluster, PVE/IPCC.xs",
)
def pmxcfs_away(found: Match[str]) -> str:
    """All configs lie in /etc/pve, which pmxcfs serves. Its process has ended, or does not answer."""
    return "pmxcfs does not answer"


@CAUSES.cause(
    "start-timeout",
    r"start failed: (?:command '.*' failed: )?got timeout|failed: got timeout$|unable to connect to VM \d+ qmp socket - timeout",
    "If only the time was short: qm start {vmid} --timeout 600; see what the kernel was busy with: journalctl -k -n 100",
    "qemu-server, PVE/QemuServer/Helpers.pm (config_aware_timeout)",
    rank=Rank.PLACE,
)
def start_timeout(found: Match[str]) -> str:
    """QEMU was not up in time. All memory of a VM with a PCI device is cleared and pinned before it starts: some seconds for each 10 GiB, minutes
    for hundreds, which Proxmox VE allows for; a device whose reset hangs, a storage that does not answer or a node that swaps take longer."""
    return "QEMU was not up within its time"


@CAUSES.cause(
    "scope-left-over",
    r"(?:Unit|scope) (?P<scope>\d+\.scope) (?:already exists|was already loaded|has a fragment file)|timeout waiting on systemd|org\.freedesktop\.systemd1\.UnitExists",
    "See what is still in it: systemctl status {vmid}.scope; end it: systemctl stop {vmid}.scope",
    "pve-common, PVE/Systemd.pm (enter_systemd_scope)",
)
def scope_left_over(found: Match[str]) -> str:
    """A process of the VM's last run is still there, so systemd has not removed its scope: often one that hangs in the kernel with a device."""
    return "the VM's last run has not ended for systemd"


@CAUSES.cause(
    "too-many-processes",
    r"(?:fork|clone|pthread_create).*(?:Resource temporarily unavailable|Cannot allocate memory)|Too many open files|unable to fork",
    "See limits and what uses them: systemd-cgtop; sysctl kernel.pid_max fs.file-max",
    "the kernel: EAGAIN, EMFILE",
    rank=Rank.PLACE,
)
def too_many_processes(found: Match[str]) -> str:
    """The node, or the service that starts VMs, has no process or open file left."""
    return "no process or open file is left"


@CAUSES.cause(
    "ha-error-state",
    r"service '(?P<service>vm:\d+)' in error state, must be disabled and fixed first|(?P<other>vm:\d+).*in error state",
    "Put it right, then have HA forget the error: ha-manager set vm:{vmid} --state disabled; then: ha-manager set vm:{vmid} --state started",
    "pve-ha-manager, PVE/HA/Manager.pm",
)
def ha_error_state(found: Match[str]) -> str:
    """High availability gave the VM up after it failed on each node that it may run on. It starts it no more before a person says so."""
    return f"high availability has {found['service'] or found['other']} in the state error"


@CAUSES.cause(
    "ha-start-failed",
    r"unable to start service (?P<service>vm:\d+)|service (?P<other>vm:\d+) .*(?:failed to start|start failed)|command 'ha-manager set .*' failed",
    "The VM's own task says why: pvehooks why {vmid}",
    "pve-ha-manager, PVE/HA/LRM.pm",
    rank=Rank.GENERAL,
)
def ha_start_failed(found: Match[str]) -> str:
    """High availability asked for the start; the task that it began says why that failed."""
    return "the start that high availability asked for failed"


@CAUSES.cause(
    "local-devices",
    r"can't migrate VM which uses local devices: (?P<what>.+)|can't migrate (?:running )?VM.*(?P<other>hostpci\d+|usb\d+)",
    "Stop the VM and migrate it offline, or use a mapping that may be migrated: pvehooks explain live-migration-impossible",
    "qemu-server, PVE/QemuMigrate.pm",
    rules=("live-migration-impossible",),
    of_vm=True,
)
def local_devices(found: Match[str]) -> str:
    """A running VM with a device of its node cannot be moved: the state of the device stays."""
    return f"the VM uses devices of this node: {found['what'] or found['other']}"


@CAUSES.cause(
    "cannot-snapshot-with-vfio",
    r"VFIO migration is not supported|non-migratable device:? '?(?P<device>[^']+)",
    "Take the snapshot without memory, or with the VM stopped",
    "QEMU, hw/vfio/migration.c",
    of_vm=True,
)
def cannot_snapshot(found: Match[str]) -> str:
    """The state of a passed-through device cannot be saved, so neither can that of the running VM."""
    return "a passed-through device keeps the VM's state from being saved"


@CAUSES.cause(
    "qemu-ended",
    r"QEMU exited with code (?P<code>\d+)|start failed: command '/usr/bin/kvm .*' failed: exit code (?P<other>\d+)",
    "Start it by hand to see all that QEMU prints: qm start {vmid}; see its command line: qm showcmd {vmid} --pretty",
    "qemu-server, PVE/QemuServer.pm",
    rank=Rank.GENERAL,
)
def qemu_ended(found: Match[str]) -> str:
    """QEMU ended before it was up. What it printed before that, if anything, says why."""
    return f"QEMU ended with code {found['code'] or found['other']}"


@CAUSES.cause(
    "node-shutting-down",
    r"TransactionIsDestructive",
    "Let the shutdown or restart come to its end; see what waits: systemctl list-jobs",
    "systemd, src/core/transaction.c",
)
def node_shutting_down(found: Match[str]) -> str:
    """systemd has a job to stop what the VM needs, as while the node shuts down or restarts, and does not begin what contradicts it."""
    return "systemd is stopping what the VM needs: the node shuts down, or a stop job hangs"


@CAUSES.cause(
    "scope-not-made",
    r"org\.freedesktop\.(?:systemd1|DBus\.Error)\.\w+|systemd job failed",
    "See systemd's state and whether /run is full: systemctl is-system-running; is /run full: df -h /run; what it logged: journalctl -u {vmid}.scope -n 20",
    "pve-common, PVE/Systemd.pm (enter_systemd_scope)",
    rank=Rank.PLACE,
)
def scope_not_made(found: Match[str]) -> str:
    """Each VM runs in a scope of systemd's. systemd, or the bus that it is asked by, refused to make it: often as /run is full."""
    return "systemd did not make the VM's scope"
