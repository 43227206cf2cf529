"""The kinds of events in the journal, in one table: the catalogue, the manual and the metrics are made from it."""

from __future__ import annotations

from pvehooks.journal import command_events
from pvehooks.journal.kind import ERR, INFO, NOTICE, WARNING, Kind

_OF_THE_DAEMON = (
    Kind("started", INFO, "pvehooksd watches", "The daemon has looked at all VMs of this node and watches their configs from now on."),
    Kind(
        "stopped",
        INFO,
        "pvehooksd ends",
        "The daemon was asked to end. VMs start as before; nothing is given an rng0 until it runs again.",
    ),
    Kind(
        "failed",
        ERR,
        "pvehooksd cannot run",
        "The message gives the reason. VMs start as before; nothing is given an rng0 until it runs. See: systemctl status pvehooks",
        notify="errors",
    ),
    Kind(
        "first-look",
        NOTICE,
        "First look at this node",
        "VMs that are there now are warned about but given no rng0, until they are edited or an administrator runs `pvehooks inject --all`, unless"
        " `[rng] existing = inject`. Those with passed-through devices get the guard, which changes nothing of their hardware.",
    ),
    Kind(
        "existing",
        WARNING,
        "Old VMs without entropy",
        "These VMs were there before pvehooks. `pvehooks inject --all` gives them their rng0. Those that the message lists apart have to be"
        " named, `pvehooks check` gives the reason.",
    ),
    Kind(
        "injected",
        NOTICE,
        "A VM was given an rng0",
        "The VM's config was backed up, changed and read back. `pvehooks undo VMID` takes it back; it is not given again then.",
        about_guest=True,
    ),
    Kind(
        "waiting",
        INFO,
        "A change to a VM has to wait",
        "The VM is locked, or pmxcfs takes no writes now. It is tried again automatically, with growing pauses.",
        about_guest=True,
    ),
    Kind(
        "changes-wait",
        WARNING,
        "No VM can be changed now",
        "The cause concerns all VMs, so all changes wait. One is tried again automatically, with growing pauses.",
    ),
    Kind("changes-resumed", INFO, "VMs can be changed again", "What had to wait is done now."),
    Kind(
        "not-injected",
        ERR,
        "An rng0 could not be given",
        "The message has the answer of Proxmox VE or the system. Nothing was changed. A refused value is not tried again until the VM or the settings change.",
        error=True,
        about_guest=True,
        notify="errors",
    ),
    Kind(
        "not-verified",
        ERR,
        "A config is not as it should be after writing",
        "The message names the backup of the config as it was before. Compare them: `pvehooks backups VMID --diff`.",
        error=True,
        about_guest=True,
        notify="errors",
    ),
    Kind(
        "attached",
        NOTICE,
        "The guard was attached to a VM",
        "Its hookscript is the guard's now; a former one is run by it first. `pvehooks detach VMID` takes it back; it is not attached again then.",
        about_guest=True,
    ),
    Kind(
        "not-attached",
        ERR,
        "The guard could not be attached",
        "The message has the answer of Proxmox VE or the system. Nothing was changed. It is not tried again until the VM or the settings change.",
        error=True,
        about_guest=True,
        notify="errors",
    ),
    Kind(
        "detached",
        NOTICE,
        "The guard left a VM",
        "The VM's last passed-through device and firmware image have been gone for ten minutes ([watch] detach_after), so the guard had nothing left to"
        " examine. A former hookscript is"
        " restored. The guard comes back with the next device.",
        about_guest=True,
    ),
    Kind(
        "not-detached",
        WARNING,
        "The guard could not be taken out",
        "The message has the answer of Proxmox VE or the system. The guard stays and refuses nothing. `pvehooks detach VMID` takes it out by hand.",
        about_guest=True,
    ),
    Kind(
        "tagged",
        INFO,
        "The tag of a VM was changed",
        "`[gui] tags` is on: pvehooks-blocked or pvehooks-warning is among the VM's tags, or is gone with what it stood for. Its other tags are as they"
        " were. Taken away by hand, it comes back when something else is found.",
        about_guest=True,
    ),
    Kind(
        "not-tagged",
        WARNING,
        "The tag of a VM could not be changed",
        "The message has the reason. Nothing was changed. It is tried again when the VM or the settings change, or as the message says.",
        about_guest=True,
    ),
    Kind(
        "boot-unguarded",
        ERR,
        "A VM starts at boot without the guard",
        "The guard could not be attached before the VMs are started; the message gives the reason. It is attached as soon as that is possible.",
        error=True,
        about_guest=True,
        protects=True,
        notify="errors",
    ),
    Kind(
        "started-unguarded",
        WARNING,
        "A VM was started before it had the guard",
        "The VM was made, or given a device, and started before the guard could be attached: what that start took from the node was not checked."
        " The message names it. The guard checks the next start.",
        about_guest=True,
        protects=True,
    ),
    Kind(
        "writer-slow",
        WARNING,
        "VMs are changed one by one through qm",
        "Proxmox VE's own code, which changes many VMs in one process, could not be loaded; the message gives the reason. `qm` does the same with a"
        " process for each VM. The code is tried again at the next change after a minute.",
    ),
    Kind(
        "present-accepted",
        NOTICE,
        "What runs already is accepted",
        "The package came to this node while the VM was running: its devices and their groups as they are now are no reason to refuse it.",
        about_guest=True,
    ),
    Kind("stubs-made", INFO, "Hookscripts of the guard were made", "They lie in a snippets directory, as VMs' configs name them."),
    Kind(
        "stub-trouble",
        ERR,
        "A hookscript of the guard could not be made",
        "VMs whose config names it do not start on this node. The message gives the reason.",
        error=True,
        notify="errors",
    ),
    Kind(
        "hookscript-absent",
        WARNING,
        "A hookscript is missing on this node",
        "A VM of another node may be moved here by high availability, and Proxmox VE would refuse to start it without its hookscript.",
    ),
    Kind(
        "nodes-lacking",
        WARNING,
        "Not all nodes have pvehooks",
        "A VM that moved to a node without the package would not find its hookscript, so none is given one automatically.",
    ),
    Kind(
        "node-lacks",
        ERR,
        "A node of the cluster lacks pvehooks",
        "VMs that have the guard may be moved there, and would not find their hookscript. Install the package on that node.",
        error=True,
        notify="errors",
    ),
    Kind("nodes-complete", INFO, "All nodes have pvehooks", "The guard is attached to the VMs that waited for it."),
    Kind(
        "not-published",
        WARNING,
        "Figures for others could not be written",
        "What the daemon writes for monitoring, for the other nodes, or into the node's notes could not be written. Its care for VMs goes on.",
    ),
    Kind(
        "findings",
        WARNING,
        "Several VMs have the same finding",
        "The message names the rule, and what it means. The line of each VM is in the entry as well (PVEHOOKS_FINDINGS:"
        " journalctl -o verbose). A finding that appears later, with one or two VMs, has an entry of its own.",
    ),
    Kind(
        "advice",
        INFO,
        "Good to know of several VMs",
        "Nothing has to be done. The message names the rules; `pvehooks explain RULE` explains one. The line of each VM is"
        " in the entry as well (PVEHOOKS_FINDINGS: journalctl -o verbose).",
    ),
    Kind("findings-gone", INFO, "Findings of several VMs are gone", "What was found before is not the case any more."),
    Kind("mended", INFO, "A finding is gone", "What was found before is not the case any more.", about_guest=True),
    Kind(
        "node-mended",
        INFO,
        "A finding about the node is gone",
        "What was found before is not the case any more. See: pvehooks host check",
    ),
    Kind(
        "start-failed",
        ERR,
        "A VM's start failed",
        "Proxmox VE's task ended with an error; the message has the cause that its log shows, PVEHOOKS_CAUSE the cause's id, PVEHOOKS_UPID the task."
        " `pvehooks why VMID` shows the line in the log, what to do, and what else it could be.",
        about_guest=True,
        notify="failed_starts",
    ),
    Kind(
        "digest",
        INFO,
        "The node's state, once a week",
        "Which VMs would not or must not start, and how many findings there are. `digest = yes` below [notify] asks for it.",
        notify="digest",
    ),
    Kind("start-works-again", INFO, "A VM was started after a failure", "The start that failed before works now.", about_guest=True),
    Kind(
        "suppressed",
        WARNING,
        "Too many entries for one cause",
        "A VM's config was changed, or a start of it failed, again and again: ten entries of one cause within an hour, or a hundred about one VM,"
        " are logged; then none for an hour, and until ten minutes have passed without one. The VM is cared for as before, refused starts and"
        " starts without the guard are always logged, and `pvehooks check` shows what holds. An event of the node that happens again and again is"
        " suppressed in the same way. So are entries about VMs that are new on the node, once there were a thousand within an hour about VMs that"
        " are gone again.",
    ),
    Kind(
        "no-longer-suppressed",
        NOTICE,
        "Entries are logged again",
        "The message has the number of entries that were suppressed, by their kind, and what holds now.",
    ),
    Kind("settings-read", INFO, "Settings read anew", "The settings files were read and are in force."),
    Kind(
        "settings-broken",
        ERR,
        "Settings cannot be used",
        "A running daemon keeps its old settings until the files are fixed; one that is being started ends. `pvehooks config` shows the same.",
        error=True,
        notify="errors",
    ),
    Kind(
        "pmxcfs-away",
        WARNING,
        "pmxcfs does not answer",
        "/etc/pve cannot be read. The daemon waits for it. See: systemctl status pve-cluster",
    ),
    Kind("pmxcfs-back", INFO, "pmxcfs answers again", "/etc/pve can be read again; all VMs were looked at anew."),
    Kind(
        "pmxcfs-stuck",
        ERR,
        "The daemon is stuck on a dead mount",
        "pmxcfs works for others but not for this process. The daemon ends so that systemd starts it afresh.",
        notify="errors",
    ),
    Kind(
        "quorum-lost",
        WARNING,
        "No quorum",
        "The cluster has no quorum: /etc/pve cannot be written. What is due is done when quorum returns. See: pvecm status",
    ),
    Kind(
        "quorum-awaited",
        INFO,
        "No quorum yet",
        "The node has booted and waits for other nodes. What is due is done when there is quorum. If it takes long, a warning follows (quorum-lost).",
    ),
    Kind("quorum-back", INFO, "Quorum is back", "What had to wait is done now."),
    Kind(
        "not-notified",
        ERR,
        "A message to people was not handed over",
        "No target took it for an hour, or some did and another did not; the message gives the reason. What it was about is in the journal."
        " `pvehooks notify` shows where messages go, `pvehooks notify --test` sends one.",
    ),
    Kind(
        "watch-limited",
        WARNING,
        "Changes are noticed late",
        "An inotify watch could not be had. Changes are noticed by the slow timer only ([watch] interval).",
    ),
    Kind(
        "watch-overflow",
        INFO,
        "Too many changes at once",
        "The kernel dropped inotify events. All VMs are looked at anew, so nothing is lost.",
    ),
)
_BUGS = (
    Kind(
        "guard-bug",
        ERR,
        "A bug in the guard of pvehooks",
        "Please report it with the traceback (journalctl -o verbose); pvehooks-troubleshooting(7) says how and where. `[guard] on_error` decides what becomes of the start.",
        notify="errors",
    ),
    Kind(
        "bug",
        ERR,
        "A bug in pvehooks",
        "Please report it with the traceback (journalctl -o verbose); pvehooks-troubleshooting(7) says how and where. The daemon goes on; the VM is looked at again at its next change.",
        error=True,
        notify="errors",
    ),
)
KINDS = {kind.name: kind for kind in (*_OF_THE_DAEMON, *command_events.KINDS, *_BUGS)}
