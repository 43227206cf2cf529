"""pvehooks(8): the command line."""

from __future__ import annotations

from pvehooks.cli import parsers
from pvehooks.notify import channels
from pvehooks.settings.load import built_in
from scripts.docs import commandline, schema, words
from scripts.docs.roff import Page, bold, inline

# What a verb does apart from its options, and its exit status where it differs from the usual one.
VERB_NOTES = {
    "check": "Reads the configs of the VMs and changes nothing."
    " For each finding the VM, the severity, what is wrong and the rule's id, and below it what to do, each command on a line of its own, to be"
    " pasted into bash. The most severe findings come first. Findings that one command ends are one; so are equal findings of several VMs, with a command"
    " for all of them. On a node with more than 100 VMs what blocks is shown as soon as it is found. Below the findings stand the VMs that must not start although nothing stops them (a start would take a"
    " device that is in use, and the guard is not attached, or does not refuse), then those that would not start (Proxmox VE, QEMU or the guard refuses)."
    " What is for information only is shown with `--all`. The last line sums up. Ends with 1 if one of the VMs would not or must not start, whatever is"
    " shown.\n\nWith an error in a settings file `check`, `why`, `report`, `status`, `host check` and `host groups` show the error, go on with the last"
    " valid settings, and end with 2.\n\n`--format jsonl` prints a line of JSON for each finding as soon as it is found: that of `--json`, with `version`,"
    " `node`, `time`, `vmid`, `name` and `start` (null for findings of the node). `--format nagios` ends with 0 (OK), 1 (WARNING: a finding that warns, or an"
    " error in the settings), 2 (CRITICAL: something blocks) or 3 (UNKNOWN: the node could not be read).",
    "host": "`check` prints a line for each check: FAIL (the next boot breaks), WARN, INFO or PASS, the subject, and what to type for the boot loader"
    " of this node; then the devices, with the reasons for and against passing them through. The most severe lines come first."
    " On the node, /etc/default/grub is read by a sh that can neither write files nor start programs; below `--root`, only plain assignments are"
    " understood. Ends with 1 if a check fails.\n\n`check --next-boot` looks at the node as it will be: with the kernel that the boot loader takes, or KERNEL, its command"
    " line, vfio and DKMS modules, initramfs, known faults, the names of network cards, and with no VM running. Each VM with passed-through devices has"
    " a line: will start, will not start, must not start (nothing stops it), or cannot tell, with the reason; then what is lost although it starts. It is one line where"
    " all is well. Hooks of kernels (/etc/kernel/postinst.d, prerm.d) and of dpkg show this in ten lines at most when a kernel, QEMU, firmware or a source of DKMS is"
    " installed or removed; they never make that fail. Ends with 1 if a VM will not or must not start or the node may not boot, with 3 if a VM's start cannot be judged.\n\n`groups` shows each IOMMU group with its devices, what uses them or names them, driver and reset"
    " methods. `+` marks a clean group (one device, with all of its functions), `!` one that several devices share, `-` one"
    " with nothing to pass through. A group is free if all of it can be passed through now without harm; a device that could not be examined is not"
    " free.\n\n`fix` shows a diff of each file that it would change and the commands after it, for the boot loader of this node. With `--apply` it saves"
    " copies of the files, writes them, runs the commands, reads the result back, and reports whether a reboot is due. It does not touch what it does"
    " not understand, and prints what to type instead. `undo` restores the files of the last fix and runs the commands again; each"
    " further `undo` reverts the fix before that. `fix` ends with 1 if something is left to be done by hand.",
    "guest": "Shows the live options, the pending ones, snapshots, and the lines that Proxmox VE cannot read and would drop when it"
    " next rewrites the file. Also takes the path of a config file, on any machine.",
    "inject": "Writes `rng0` with the values in `[rng]`, after a backup of the config, and reads it back. A VM named by its VMID gets it whatever the"
    " settings say, also if it existed before pvehooks. A template, a config that Proxmox VE would damage, and a stopped VM with other"
    " pending changes are refused. On a running VM it takes effect at the next start. Ends with 1 if a VM was refused or failed.",
    "undo": "Removes the `rng0` that pvehooks added, if it is unchanged. It is not added again unless you run `inject`. With `--all` from"
    " every VM of the node that was given one and still has an `rng0`."
    " Ends with 1 if one could not be removed.",
    "attach": "Makes the guard the hookscript of the VM, also while the VM runs; it checks the next start. The guard runs an existing hookscript"
    " first, in every phase, and `detach` restores it. With `[guard] attach` the daemon does the same automatically. Ends with 1 if a VM was"
    " refused or failed.",
    "detach": "Removes the guard's hookscript and restores the VM's own, if there was one. The daemon does not attach the guard again."
    " Ends with 1 if one could not be removed.",
    "allow": "Allows the next start of the VM although the guard would refuse it, with all consequences. The journal then shows who"
    " allowed it, and why. A start for a backup or as the target of a migration is allowed as well and does not use up the permission.",
    "trust": "Records the devices that the VM would start with now, and the members of their IOMMU groups, as a start that was allowed does."
    " `group-not-clean` and `device-changed` then no longer report them; devices in use are refused as before.",
    "bind": "Selects devices by address, so that a second device with the same ids is not affected; PCI ids are never given to vfio-pci. Devices that"
    " the host, a container or another VM uses, and bridges, are refused. The result is read back.\n\n`--now` lasts until the next boot; it is the"
    " default without `--persist`. `--persist` records the ids, place and serial number of the device in /etc/pvehooks/bind.d. At boot, before udev"
    " examines the hardware, the device is bound if it is the same one and not in use; otherwise the journal says why not. `--persist` alone changes"
    " nothing now. driverctl(8) does not compare what is at the address; `--list` also shows what it binds.\n\n`--vfs` can be combined with `--now`"
    " and `--persist` in the same way. The number can be changed while none of the virtual functions is in use. `--vf` says what they are given; what is for one comes before what is"
    " for all. New ones of a network card get MACs that are the same at every boot where none is given. All of it is made by ip(8) and read back, at boot"
    " before the VMs start, and again before a VM starts, because a reset of the card takes it away. With `driver=vfio-pci` for all, no driver of"
    " the host sees them. A card stays a port of its bridge.\n\nEnds with 1 if a device was refused"
    " or failed.",
    "unbind": "Returns a device to the driver it was on, or to the one that the kernel has for it; refused while a VM or a program holds it or"
    " another device of its IOMMU group. `--persist` removes what was recorded for boot, and alone changes nothing now. Ends with 1 if a device was"
    " refused or failed.",
    "lend": "Hands devices over once, without a change of what is recorded for boot. `--to VMID` binds them to vfio-pci for the next start of that VM, if the"
    " VM has them in its config and the guard would let it start with them; after its end they go back if `after_stop = return` is set. `--to host`"
    " gives them to the driver that a start took them from, or to the one that the kernel has for them. What a VM, the node or a program uses is"
    " refused, and named; nothing is stopped for it. Ends with 1 if a device was refused or failed.",
    "devices": "A line for each device that does work for a VM or the node: where it is now, which VM has it in its config and whether the node gets it"
    " back, how it does (against the start of the VM that has it: lanes of its link, PCIe errors, virtual functions), the last start of these VMs,"
    " and the last trouble with the device in the journal.",
    "follow": "Which device an address of a VM or a mapping means is remembered when the address is first seen: its ids, its slot, its PCIe serial"
    " number, the serial number of its disk, its MAC. When another device is at the address, or none, `follow` looks for the one that is meant. It is"
    " known again by a serial number or MAC, else by its slot, else as the only one of its kind. Where several fit, they are named and nothing is changed."
    " `pvehooks trust` has a VM mean the devices that are at its addresses now.\n\nAll addresses of a VM are written in one update, with a backup and all"
    " other options kept; a mapping is written through pvesh, and its ids and IOMMU group are corrected as well. A virtual function follows its physical"
    " one. Addresses in `args` are only shown. On a running VM the change takes effect at its next start.\n\nWhat else names such a device is listed with"
    " the command for it: notes of `bind --persist`, driverctl(8), network cards in /etc/network/interfaces that have another name now. Ends"
    " with 1 if a device could not be found, or a change was refused or failed.",
    "mapping": "A mapping names devices of several nodes. High availability and migration need one, and users other than root cannot name devices by"
    " address.\n\n`add` and `adopt` read id, subsystem and IOMMU group, which Proxmox VE compares at each start, from the hardware; entries of other"
    " nodes stay. Bridges and devices that the host uses are refused. `check` compares each entry with the devices of its node, of other nodes as their"
    " pvehooks publishes them, and ends with 1 if one does not fit. `export` writes resources for the Terraform provider bpg/proxmox, variables"
    " for the Ansible role in /usr/share/doc/pvehooks/examples, or JSON.",
    "firmware": "Images are in the directory efi-firmware of a storage that is a directory of the node, read-only and owned by root; one serves any number"
    " of VMs. `import` takes code images, which keep the variables on the VM's own EFI disk, and whole images, which SEV-SNP and TDX VMs"
    " need; `info` shows which kind a file is.\n\n`set` adds arguments for QEMU to the `args` of the VM, behind its own, which stay unchanged, and records"
    " the image's sha256; the guard compares it before each start. `unset` removes these arguments. The VM must have `bios: ovmf`, and, unless it is"
    " confidential, machine version 10.0 or later. On a running VM the change takes effect at its next start. Images are not copied to other nodes:"
    " import the same file there. `apt purge` leaves them, and VMs continue to start with them.\n\n`migrate` moves an image to Proxmox VE's own"
    " option for it, once it has one. Ends with 1 if something was refused, or if `verify` finds an image that differs.",
    "backups": "Lists the configs that were saved before a change, the newest first, or shows what differs from the current config."
    " A digest may be shortened. To restore one, see BACKUPS below.",
    "rules": "The severity shown is the rule's own, before `[rules]` in the settings.",
    "explain": "Also shows the source of the explanation, and how to ignore the rule for one VM.",
    "why": "Reads Proxmox VE's task log of the start, and what the kernel logged at that time, and compares their lines with known causes. It shows"
    " the cause with its line, what to do, what the rules find of the VM now, and what else it could be; where no cause is known, the last lines."
    " Without a VM: a line for each VM whose last start failed. Starts that an administrator interrupted do not count.\n\nThe task log of a node"
    " holds about the last 2,000 tasks. Of a long log the end is read. What a VM, a device or a hookscript wrote there is shown with its control"
    " characters escaped. Ends with 1 if the start failed.",
    "report": "Reads all VMs and all hardware, and changes neither. The HTML file needs no network and no scripts; it suits phones, paper and"
    " dark screens, and filters by severity and VM. It shows which VM has which device and what a start would take as well, the IOMMU groups, and where"
    " the devices sit: ports, switches, slots, links, NUMA nodes. A new file has mode 0600, because it names VMs, devices and addresses; an existing file of yours keeps its mode and group, and is"
    " replaced as a whole. A terminal shows where it is, who can read it, and how to fetch it. `--summary` is for a mail: what forbids a start and what to"
    " type, the warnings, what is free; with `--cluster` or `--from` what needs attention on which node, and what to type there.\n\nA report to a file is also saved as JSON in /var/lib/pvehooks/report.json, and the next report shows what changed since;"
    " a report that is only printed is compared with it and not saved, nor are reports of other nodes, of trees, and those with `--since`. A finding"
    " of which only the wording changed counts as the same. Ends with 0 whatever it finds; for a status that depends on the findings use `check`.\n\nWith `--cluster` it is one page on all"
    " nodes, made of what each publishes: what needs attention, coverage by guard and rng0, versions, free devices by kind, on which other nodes each VM"
    " would start, in which versions and settings nodes differ, what the last look at each node's next boot found (after an installation of a kernel, or"
    " by `host check --next-boot`), and starts that failed. Each figure has its age; a node that publishes nothing, or has an older pvehooks, is named."
    "\n\nWith `--from DIR` the page is made of files: captures, and what `report --json` or `report --cluster --json` printed, of any node and version, in the directory and"
    " in those below it (the name of one stands for a cluster whose name is not in a file). Nodes of the same name are kept apart by their file. A"
    " capture is unpacked as for `--root`; a file that is damaged, foreign or made to do harm is named and left out, and a link is not followed.",
    "status": "Whether the daemon runs and pmxcfs answers, how many VMs have findings, which lack an rng0 and which were given one.",
    "capture": "Runs every rule on the node and writes just the files, listings and links that they read, and the task logs of the last VMs whose start failed, as a tree in a tar.xz file of mode"
    " 0600. Names, addresses, serial numbers and identifiers are replaced, the same one by the same replacement everywhere; keys, tickets, passwords,"
    " cloud-init secrets and descriptions are never included, with or without `--plain`. The capture is verified before the command ends: it gives the"
    " same findings as the node, or the command reports the differences. Every verb takes such a file as `--root FILE`; it is unpacked into a temporary"
    " directory, which is removed when the command ends.",
    "notify": "Where messages go, which programs in /etc/pvehooks/notify.d are not run and why, what is not handed over yet and why, and how many messages"
    " were sent in the last hour. `--test` has the service send a message, and shows who took it; it needs no event and counts towards no limit."
    " It ends with 1 if a target did not take it. See MESSAGES below.",
    "config": "Each option with its value and the file and line that set it. An error in a file is reported with file and line, and the"
    " command ends with 2.",
}
DESCRIPTION = """\
`pvehooks` shows what prevents the VMs of a Proxmox VE node from starting or causes trouble later: passed-through PCI devices whose start
would take other devices from the host, UEFI VMs without an RNG device, and what else Proxmox VE refuses or its manual warns about.
It explains each finding, and does or reverts on request what pvehooksd(8) does automatically.

It reads the VMs of one node: this one, unless `--root` or `--node` says otherwise. Containers are not checked.
Only `inject`, `undo`, `attach`, `detach` and `firmware` change the config of a VM, and no verb starts or stops one.
Only `host fix`, `host undo`, `bind`, `unbind` and `lend` change the node's own configuration and the drivers of its devices.
"""
MESSAGES = f"""\
About what needs a person a message is sent: a start that the guard refused, another start that failed, a device that is dead after its VM's
end, trouble at the next boot, an error of pvehooks itself. `[notify]` in pvehooks.conf(5) switches each kind; pvehooksd(8) lists the events. What happens within
three seconds is one message, and {built_in().notify.per_hour} messages an hour are sent at most: what comes meanwhile is one message later.

Messages go to Proxmox VE's notifications (8.1 and newer), whose matchers choose the targets: match the field `type` (`pvehooks`), `event` (the option
in `[notify]`, or `several`), `hostname`, or the severity (`error`, `warning`, `notice`, `info`). The templates are `pvehooks-subject.txt.hbs`,
`pvehooks-body.txt.hbs` and `pvehooks-body.html.hbs`; your own go to /etc/pve/notification-templates/default. They are filled with `subject`, `text`,
`node`, `groups` (each with `title` and `events`, which have `time` and `text`), `more`, `switch` and `severity`. Proxmox VE 8.1, and 8.2 before June 2024,
have no templates: there the same goes out as text. Where there are no such notifications, root gets a
mail by sendmail(8).

They also go to each program in {channels.PROGRAMS}, as JSON on standard input, with the subject and the severity in `MESSAGE_SUBJECT` and
`MESSAGE_SEVERITY`. Programs and directory must belong to root, and be writable by root alone. Examples, for ntfy, Gotify, Matrix and Nagios:
/usr/share/doc/pvehooks/examples/notify.d

A target that does not take a message gets it again, for an hour; then the journal says so (`not-notified`). A message that a kill of the service interrupts may
come twice. The service, pvehooks-notify.service, has a sandbox: what a mailer or a program has to write besides needs a `ReadWritePaths=`
(`systemctl edit pvehooks-notify`).
"""
JSON = f"""\
`--json` prints one object: `version` (of its form), `node`, `time`, and keys that depend on the verb; pvehooks-json(5) describes them, and
{schema.FILE} holds them as a JSON Schema. Keys may be added; a key that is to go is deprecated for one version before.
"""
EXAMPLES = {
    "What is wrong with the VMs of this node:": "pvehooks check",
    "Whether the node is ready for passthrough, and what could be passed through now:": "pvehooks host check\npvehooks host groups --free",
    "The state of the node as a mail:": "(echo 'Subject: pvehooks'; echo; pvehooks report --summary) | sendmail root",
    "The state of the cluster each Monday, as cron's mail to root (a line in /etc/cron.d/pvehooks-mail on one node):": "0 7 * * 1 root /usr/sbin/pvehooks report --cluster --summary",
    "Files for someone who helps you:": "pvehooks report --html /root/pve1.html\npvehooks capture pve1.tar.xz",
    "Only what blocks a start, for a script:": """pvehooks check --json | jq '.guests[] | select(.verdict == "block") | .vmid'""",
    "Why the last start of a VM failed:": "pvehooks why 100",
    "Whether a message reaches you:": "pvehooks notify --test",
    "Why something is reported:": "pvehooks explain rng-missing-netboot",
    "See what would be done, do it, revert it:": "pvehooks inject 100 --dry-run\npvehooks inject 100\npvehooks undo 100",
    "All VMs that existed before pvehooks:": "pvehooks inject --all",
    "What was changed in a config:": "pvehooks backups 100 --diff",
    "Before a restart, whether the VMs with passed-through devices will start:": "pvehooks host check --next-boot",
    "A copy of a node's files instead of this node:": "pvehooks check --root /mnt/copy --node pve1",
    "What the daemon did today:": "journalctl -t pvehooksd --since today",
}


def make(date: str) -> str:
    """The page."""
    page = Page("pvehooks", 8, "check and fix the VMs of a Proxmox VE node", date)
    _head(page)
    _verbs(page)
    page.section("Options of every verb")
    for argument in commandline.common():
        page.tagged(commandline.tag(argument), commandline.sentence(argument.help))
    page.section("Options without a verb")
    for argument in commandline.command():
        page.tagged(commandline.tag(argument), commandline.sentence(argument.help))
    _findings(page)
    page.section("Messages")
    page.paragraphs(MESSAGES)
    page.section("JSON")
    page.paragraphs(JSON)
    page.section("Exit status")
    page.definitions((str(number), text) for number, text in sorted(words.EXIT_STATUSES.items()))
    page.section("Environment")
    page.tagged(bold("NO_COLOR"), "If set, tables on a terminal have no colours. In a pipe they are plain text anyway.")
    words.files(page, *(path for path in words.FILES if path not in words.DAEMON_ONLY))
    page.section("Examples")
    for text, commands in EXAMPLES.items():
        page.paragraph(text)
        page.example(commands.splitlines())
    page.see_also(
        "pvehooksd(8)",
        "pvehooks.conf(5)",
        "pvehooks-rules(7)",
        "pvehooks-troubleshooting(7)",
        "pvehooks-json(5)",
        "qm(1)",
        "qm.conf(5)",
        "journalctl(1)",
    )
    return page.text()


def _head(page: Page) -> None:
    page.section("Synopsis")
    page.synopsis(_usage(words) for words in parsers.commands())
    page.synopsis([f"{bold('pvehooks help')} [{inline('VERB')} [{inline('ACTION')}]]"])
    page.synopsis([f"{bold('pvehooks')} {' | '.join(bold(argument.flags[-1]) for argument in commandline.command())}"])
    page.section("Description")
    page.paragraphs(DESCRIPTION)


def _usage(words: tuple[str, ...]) -> str:
    own = (commandline.usage(argument) for argument in commandline.own(*words))
    return " ".join((bold(f"pvehooks {' '.join(words)}"), *own, f"[{inline('options')}]"))


def _verbs(page: Page) -> None:
    page.section("Verbs")
    for verb in parsers.names():
        page.subsection(verb)
        page.paragraph(parsers.summary(verb))
        page.paragraphs(VERB_NOTES[verb])
        if not parsers.has_actions(verb):
            _command(page, (verb,))
            continue
        for action in parsers.names(verb):
            page.subsection(f"{verb} {action}")
            page.paragraph(parsers.summary(verb, action))
            _command(page, (verb, action))


def _command(page: Page, words: tuple[str, ...]) -> None:
    for argument in commandline.own(*words):
        page.tagged(commandline.tag(argument), commandline.sentence(argument.help))
    page.paragraph("Example:")
    page.example([parsers.module(*words).EXAMPLE])


def _findings(page: Page) -> None:
    page.section("Findings")
    page.paragraph("A finding has a severity, which `[rules]` in the settings can change for a rule:")
    page.definitions(words.SEVERITIES.items())
    page.paragraph(
        "A finding that begins with `not examined` could not be decided because something could not be read; it names what."
        " A finding that does not matter for a VM can be ignored with a reason, see `[guest VMID]` in pvehooks.conf(5);"
        " `check` still shows it, as ignored."
    )
    page.section("Backups")
    page.paragraph(
        "To restore a whole config as it was before a change, stop the VM, look at the difference, and copy the file"
        " that `pvehooks backups VMID` names:"
    )
    page.example(["pvehooks backups 100 --diff DIGEST", "cp /var/lib/pvehooks/backups/100-DIGEST.conf /etc/pve/qemu-server/100.conf"])
    page.paragraph("This also reverts every other change that was made since. To remove the rng0 alone, use `pvehooks undo VMID`.")
