"""pvehooks(8): the command line."""

from __future__ import annotations

from pvehooks.cli import parsers
from scripts.docs import commandline, words
from scripts.docs.roff import Page, bold, inline

# What a verb does beyond its options; its exit status where it is not the common one.
VERB_NOTES = {
    "check": "Looks at the guests' configs and changes nothing."
    " For each finding a line with the VM, the severity, what is wrong and the rule's id, and below it what to do, each command at the end of its line."
    " Findings that one command ends are one line. Below the findings stand the VMs that must not start although nothing stops them (a start would take a"
    " device that is in use, and the guard is not attached, or does not refuse), then those that would not start (Proxmox VE, QEMU or the guard refuses)."
    " What is for information only is shown with `--all`. Ends with 1 if one of the VMs would not or must not start.",
    "host": "`check` prints a line for each check: FAIL (the next boot breaks), WARN, INFO or PASS, the subject, and what to type for this node's own"
    " boot loader; then the devices with what speaks for and against passing them through. What hurts comes first."
    " On the node, /etc/default/grub is read by a sh that can neither write nor run on; below `--root`, only plain assignments are understood."
    " Ends with 1 if a check fails.\n\n`groups` shows each IOMMU group with its devices, who uses them or names them, driver and reset methods:"
    " `+` stands before a clean group (one device, with all of its functions), `!` before one that several devices share, `-` before one"
    " with nothing to pass through. A group is free if all of it could be taken now and nobody would miss it; what could not be looked at is not free."
    "\n\n`fix` shows a diff of each file that it would change and the commands after it, for the boot loader that this node has; with `--apply` it keeps"
    " copies of the files, writes them, runs the commands, reads the result back, and says whether a restart is due. What it does not understand it"
    " leaves alone, and says what to type instead. `undo` puts the files of the last fix back as they were and runs the commands again; each"
    " further `undo` takes back the fix before that. `fix` ends with 1 if something is left to be done by hand.",
    "guest": "Shows the live options, the pending ones, snapshots, and the lines that Proxmox VE cannot read and would lose when it"
    " next rewrites the file. Takes a file as well, which need not lie on a node.",
    "inject": "Writes `rng0` as `[rng]` says, after a backup of the config, and reads it back. A guest named by its VMID gets it whatever the"
    " settings say, also if it was there before pvehooks; a template, a config that Proxmox VE would damage, or a stopped guest with other"
    " changes pending is refused. On a running guest it takes effect at the next start. Ends with 1 if a guest was refused or failed.",
    "undo": "Takes out the `rng0` that pvehooks gave, if it is still as it was given. The guest is not given one again unless you ask."
    " Ends with 1 if one could not be taken out.",
    "attach": "Makes the guard the guest's hookscript, on a running guest as well; it is asked at the next start. A hookscript of its own is run by it"
    " first, in every phase, and is put back by `detach`. `[guard] attach` has the daemon do the same by itself. Ends with 1 if a guest was"
    " refused or failed.",
    "detach": "Takes the guard's hookscript out and puts the guest's own back, if there was one. The daemon does not attach it again."
    " Ends with 1 if one could not be taken out.",
    "allow": "Has the guest's next start go through although the guard would refuse it, with all that follows; the journal then says who"
    " allowed it, and why. A start for a backup or as the target of a migration goes through as well and does not use that up.",
    "trust": "Notes the devices that the guest would start with now, and the members of their IOMMU groups, as a start that went through does."
    " Then `group-not-clean` and `device-changed` do not speak of them any more; what is in use is refused as before.",
    "bind": "Names devices by address, so that a twin with the same ids stays where it is; PCI ids are never given to vfio-pci. Refused is what"
    " the host, a container or another guest uses, and bridges. The result is read back.\n\n`--now` lasts until the next boot; without `--now` and"
    " `--persist` it is what is done. `--persist` notes the device's ids, place and serial number in /etc/pvehooks/bind.d; at boot, before udev looks at"
    " the hardware, it is bound if it is the same device and nobody uses it, else the journal says why not. `--persist` alone changes nothing now."
    " driverctl(8) does not compare what is at the address; `--list` shows what it binds as well.\n\n`--vfs` works in the same two ways. The number"
    " can be changed while none of the virtual functions is in use. Ends with 1 if a device was refused or failed.",
    "unbind": "Gives a device back to the driver it was on, or to the one that the kernel has for it; refused while a guest or a program holds it or"
    " a fellow of its IOMMU group. `--persist` forgets what was noted for boot, and alone changes nothing now. Ends with 1 if a device was"
    " refused or failed.",
    "firmware": "Images lie in the directory efi-firmware of a storage that is a directory of the node, read-only and root's; one serves any number of"
    " guests. `import` takes code images, which leave the variables to each guest's own EFI disk, and whole images, which SEV-SNP and TDX guests"
    " take; `info` tells which a file is.\n\n`set` adds our words for QEMU to the guest's `args`, behind its own, which stay to the letter, and notes"
    " the image's sha256; the guard compares it before each start. `unset` takes our words out again. The guest must be `bios: ovmf`, and, unless it is"
    " confidential, of machine version 10.0 or later. On a running guest the change waits for its next start. Images are not copied to other nodes:"
    " import the same file there. `apt purge` leaves them, and guests go on starting with them.\n\n`migrate` hands an image over to Proxmox VE's own"
    " option for it, once it has one. Ends with 1 if something was refused, or if `verify` finds an image that is not as it should be.",
    "backups": "Lists the configs that were kept before a change, the newest first, or shows what differs from the config as it is now."
    " A digest may be shortened. To go back to one, see BACKUPS below.",
    "rules": "The severity shown is the rule's own, before `[rules]` in the settings.",
    "explain": "Also tells where that is written, and how the rule is ignored for one guest.",
    "report": "Looks at all guests and all hardware, and changes nothing of them. The HTML file needs no network and no scripts; it suits phones, paper and"
    " dark screens. A new file has mode 0600, because it names guests, devices and addresses; a file of yours that is there keeps mode and group, and is"
    " replaced as a whole.\n\nA report that goes to a file is kept, as JSON in /var/lib/pvehooks/report.json, and the next report tells what changed since;"
    " what is only printed is compared with it and not kept, nor are reports of other nodes, of trees, and those with `--since`. A finding"
    " of which only the words changed counts as the same. Ends with 0 whatever it finds; `check` tells by its status.",
    "status": "Whether the daemon runs and pmxcfs answers, how many guests have findings, which lack an rng0 and which were given one.",
    "capture": "Runs every rule on the node and writes just the files, listings and links that they asked for, as a tree in a tar.xz file of mode"
    " 0600. Names, addresses, serial numbers and identifiers are replaced, each by the same one wherever it stands; keys, tickets, passwords, cloud-init"
    " secrets and descriptions are never taken, `--plain` or not. The capture is tried before the command ends: it gives the same findings as the node,"
    " or the command says where it does not. Every verb takes such a file as `--root FILE`; it is unpacked into a directory of its own, which goes when the"
    " command ends.",
    "config": "Each option with its value and the file and line that set it. A mistake in a file is said with file and line, and the"
    " command ends with 2.",
}
DESCRIPTION = """\
`pvehooks` tells what keeps the VMs of a Proxmox VE node from starting, or surprises later: passed-through PCI devices that would take
others of the host along, UEFI guests without a source of entropy, and what else Proxmox VE refuses or its manual warns of.
It explains each finding, and does or undoes by hand what pvehooksd(8) does by itself.

It looks at the VMs of one node: this one, unless `--root` or `--node` says otherwise. Containers are not looked at.
Only `inject`, `undo`, `attach`, `detach` and `firmware` change the config of a guest, and none of the verbs starts or stops one.
Only `host fix`, `host undo`, `bind` and `unbind` change the node's own configuration and the drivers of its devices.
"""
JSON = {
    "check": "`version` (1), `node`, `guard_mode`, `guests`, each with `vmid`, `name`, `verdict` (block, allow: whether a finding blocks), `start`"
    " (would start, would not start, must not start), `nothing_stops_it` (why nothing stops a start that must not be, or null), `guarded` (whether the"
    " guard refuses harmful starts; null where none is needed), `allowed` (by `pvehooks allow`) and `findings`, and `node_findings`. A finding has `rule`, `severity`, `subject`, `message`, `remedy`, `examined` (whether the rule could look) and `ignored` (the reason, or null).",
    "host groups": "`groups`, each with `group` (null for what is in none), `state` (clean, shared, board, bridges, no group), `free` and `devices`; a"
    " device has `address`, `words`, `id`, `class`, `bridge`, `driver`, `vfio`, `reset_methods` (null if unknown), `dead`, `physfn`, `virtfns`,"
    " `free`, `uses` (`use`, `vmid`, `remark`), `guests` (`vmid`, `label`, `option`, `running`, `holds`) and `unread`; beside them `iommu`"
    " (`active`, `why`, `acs_override`) and `absent`, what the guest names and is not there.",
    "report": "`version` (1), `pvehooks`, `node`, `time` (seconds since 1970), `facts` (kernel, boot, processors, memory, IOMMU, interrupts, in words;"
    " null if unknown), `iommu` and `groups` as of `host groups` (`groups` is null if unknown), `guests` and `node_findings` as of `check`, a guest"
    " with `running` and `template` and without `allowed`; `rules`, by id, with `explanation` and `remedy`; and `changes`: null, or `since` and `items` with `kind`"
    " (node, device, guest, finding), `how` (new, gone, changed), `what` and `text`.",
}
EXAMPLES = {
    "What is wrong with the guests of this node:": "pvehooks check",
    "Whether the node is ready for passthrough, and what could be passed through now:": "pvehooks host check\npvehooks host groups --free",
    "What to hand to somebody who is to help:": "pvehooks report --html /root/pve1.html\npvehooks capture pve1.tar.xz",
    "Only what blocks a start, for a script:": """pvehooks check --json | jq '.guests[] | select(.verdict == "block") | .vmid'""",
    "Why a finding is one:": "pvehooks explain rng-missing-netboot",
    "See what would be done, do it, take it back:": "pvehooks inject 100 --dry-run\npvehooks inject 100\npvehooks undo 100",
    "All guests that were there before pvehooks:": "pvehooks inject --all",
    "What was changed in a config:": "pvehooks backups 100 --diff",
    "A copy of a node's files instead of this node:": "pvehooks check --root /mnt/copy --node pve1",
    "What the daemon did today:": "journalctl -t pvehooksd --since today",
}


def make(date: str) -> str:
    """The page."""
    page = Page("pvehooks", 8, "check and mend the VMs of a Proxmox VE node", date)
    _head(page)
    _verbs(page)
    page.section("Options of every verb")
    for argument in commandline.common():
        page.tagged(commandline.tag(argument), commandline.sentence(argument.help))
    page.section("Options without a verb")
    for argument in commandline.command():
        page.tagged(commandline.tag(argument), commandline.sentence(argument.help))
    _findings(page)
    page.section("JSON")
    page.paragraph("Keys may be added. What `--json` prints of these, by name:")
    page.definitions(JSON.items())
    page.section("Exit status")
    page.definitions((str(number), text) for number, text in sorted(words.EXIT_STATUSES.items()))
    page.section("Environment")
    page.tagged(bold("NO_COLOR"), "If set, tables on a terminal have no colours. In a pipe they are plain text anyway.")
    words.files(page, *(path for path in words.FILES if path not in words.DAEMON_ONLY))
    page.section("Examples")
    for text, commands in EXAMPLES.items():
        page.paragraph(text)
        page.example(commands.splitlines())
    page.see_also("pvehooksd(8)", "pvehooks.conf(5)", "pvehooks-rules(7)", "qm(1)", "qm.conf(5)", "journalctl(1)")
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
        "A finding that begins with `not examined` could not be decided because something could not be read; it says what."
        " A finding that does not matter for a guest is ignored with a reason, see `[guest VMID]` in pvehooks.conf(5);"
        " `check` goes on showing it, as ignored."
    )
    page.section("Backups")
    page.paragraph(
        "To put a whole config back as it was before a change, stop the guest, look at the difference, and copy the file"
        " that `pvehooks backups VMID` names:"
    )
    page.example(["pvehooks backups 100 --diff DIGEST", "cp /var/lib/pvehooks/backups/100-DIGEST.conf /etc/pve/qemu-server/100.conf"])
    page.paragraph("That also takes back every other change that was made since. To take back the rng0 alone, use `pvehooks undo VMID`.")
