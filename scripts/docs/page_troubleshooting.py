"""pvehooks-troubleshooting(7): by symptom, and by the line of the log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from pvehooks.causes.registry import Cause, causes
from scripts.docs.roff import Page

EXAMPLES = Path(__file__).parents[2] / "tests/causes"
DESCRIPTION = """\
Begin with `pvehooks why VMID` if a start failed, with `pvehooks check VMID` if something else is wrong with a VM, and with
`pvehooks host check` if it is the node. They look at this node and show what to type. This page is for reading without them, on a phone or on
another machine.
"""
SYMPTOMS = {
    "The task log says that pvehooks refuses the start": "The start would take something from the host, or a device is not the one of the last"
    " start. The message names the device, what uses it, and the rule in brackets. `pvehooks check VMID` shows what to type;"
    " `pvehooks explain RULE` shows why it matters. If you accept the devices as they are: `pvehooks trust VMID`. To start it once, whatever happens:"
    " `pvehooks allow VMID --once --reason WHY`.",
    "hookscript error for VMID on pre-start: script 'local:snippets/pvehooks-guard' does not exist": "The VM came, by a restore or a migration, to a node that never had pvehooks."
    " Install the package there, or: `qm set VMID --delete hookscript`",
    "The device that a VM is to have shares its IOMMU group with a network card or a disk of the node": "`pvehooks host groups` shows what is in which group."
    " The card in another slot is mostly in another group; so is each device where the firmware setup has ACS switched on. Or the node does without the other"
    " device: `pvehooks check VMID` prints what takes it out of use, whether it is in a bridge, holds a file system, a pool or a Ceph OSD. The kernel option"
    " `pcie_acs_override` only has the kernel believe that the devices are apart: the VM can still reach the memory of the other one.",
    "A VM was restored or moved to another node": "Its `hostpci` options name addresses of the node that it came from. `pvehooks check VMID` shows those"
    " that are no device here, or in use; `pvehooks host groups --free` what can take their place. Before a move, `pvehooks check VMID --target NODE` shows whether it would"
    " start there. A VM whose devices are named by PCI mappings needs no change: `pvehooks mapping adopt VMID` on its node, then on the others"
    " `pvehooks mapping add MAPPING ADDRESS`, with the address that the device has there.",
    "A vGPU or a virtual function is not there": "They are gone at each restart of the node, and have to be made again: NVIDIA's by its sriov-manage (the unit"
    " pve-nvidia-sriov@), others by a unit or udev rule of yours, or by `pvehooks bind ADDRESS --vfs 4 --persist`. `pvehooks check VMID` shows which of them made none, and why.",
    "The node lost its network, or hung, when a VM started": "The start took the network card of the bridge, or the disk of the root file system: it is"
    " in the IOMMU group of a device of the VM. `pvehooks host groups` shows the groups and what uses each device. Is the guard on:"
    " `pvehooks status`",
    "A UEFI VM does not boot from the network": "Its firmware has no source of random numbers. `pvehooks check VMID` says whether that is"
    " it; `pvehooks inject VMID` adds the `rng0`, which takes effect at the next start.",
    "A device works at the first start and not at the second": "It cannot be reset. `pvehooks host groups` shows the reset methods;"
    " `pvehooks explain reset-unavailable` says what helps. Until then the node has to be restarted.",
    "After a card was added, another device is in the VM": "The addresses moved. `pvehooks check VMID` shows each device that is not the one of"
    " the last start. Correct the address with `qm set`, or accept it: `pvehooks trust VMID`",
    "After an upgrade of the kernel nothing can be passed through": "`pvehooks host check` compares what runs with what is configured, and with what the"
    " next boot takes. `pvehooks host fix` shows what it would change; `--apply` changes it.",
    "Proxmox VE 8 becomes 9 (Debian 12 becomes 13)": "The package, hookscripts, settings and records stay as they are. Before the restart,"
    " `pvehooks host check --next-boot` shows which VMs will not start with the new kernel, with which DKMS modules, and which network cards get other"
    " names. After it, `pvehooks host check` finds what Debian 13 does not read any more (/etc/sysctl.conf, /etc/sysfs.d without /etc/sysfs.conf) and names"
    " in the network configuration without an interface, and `pvehooks check` machine versions that the new QEMU does not have.",
    "A finding is wrong, or does not matter here": "To ignore it for one VM, write `ignore = RULE: REASON` below `[guest VMID]` in"
    " /etc/pvehooks/pvehooks.conf; to change its severity, write `RULE = info` below `[rules]`. See pvehooks.conf(5).",
    "pvehooks does nothing": "`pvehooks status` shows whether the daemon runs and pmxcfs answers; `pvehooks config` shows the settings and their"
    " errors; `journalctl -t pvehooksd` shows what it did and why it did not.",
}
QUESTIONS = {
    "What does it change automatically?": "It adds `rng0` to new or edited UEFI VMs that need it, and makes the guard the hookscript of VMs with"
    " passed-through devices. Nothing else. `mode = warn` below `[rng]`, `mode = audit` and `attach = warn` below `[guard]` report only.",
    "Can it keep my VMs from starting?": "It refuses a start that would take away what is in use, or a working device that was not named and not accepted. All"
    " others start, also while pvehooks is stopped, and after it was removed. A start that could not be examined goes on if the devices are those of the"
    " last start, see `[guard] on_error` in pvehooks.conf(5).",
    "I have a hookscript of my own.": "It keeps running, in every phase, before the guard. `pvehooks detach VMID` makes it the VM's hookscript again.",
    "Does it change backups?": "No. What /etc/vzdump.conf names as `script` runs as before. A backup of a stopped VM starts it, paused and with its devices, so the guard"
    " refuses that where it would refuse a start, and the backup's log says so: back up such a VM while it runs.",
    "Does it run on ARM?": "Yes, the package is the same. What only x86 has (RDRAND, the IOMMU options of Intel and AMD) is not asked for there.",
    "What if I remove what it added?": "It is not added again. `pvehooks inject VMID` or `pvehooks attach VMID` does that.",
    "How do I take the guard off all VMs?": "`pvehooks detach --all`",
    "How do I undo everything?": "`pvehooks host undo` for the node's files, `pvehooks undo --all` for each `rng0`, then `apt purge pvehooks`, which"
    " prints what is left.",
    "Does it work on nodes without passed-through devices?": "Yes: `check` reports what Proxmox VE and QEMU would refuse, and UEFI VMs get their `rng0`.",
    "Do all nodes of a cluster need it?": "Each node looks after its own VMs. The guard is attached once every node has the package, because a VM that moves"
    " takes its hookscript with it.",
    "What goes into a fault report, and where does it go?": "`pvehooks capture fault.tar.xz` saves what the rules read, with names and addresses replaced;"
    " look at it with `pvehooks capture fault.tar.xz --list`. Add the version (`dpkg -l pvehooks`), what you expected, and what pvehooks said; for a traceback"
    " `journalctl -t pvehooksd -t pvehooks-guard -o verbose PVEHOOKS_EVENT=bug PVEHOOKS_EVENT=guard-bug`. All of it goes to where you have the package from: to the person who built it for your site,"
    " or to the place where its source is published. The person who builds it for others writes an address into debian/control, which"
    " `dpkg-query --show --showformat='${Maintainer}\\n' pvehooks` shows. One that ends in example.org receives no mail.",
}


def make(date: str) -> str:
    """The page."""
    page = Page("pvehooks-troubleshooting", 7, "what to do when a VM does not start or a device does not work", date)
    page.section("Description")
    page.paragraphs(DESCRIPTION)
    page.section("By symptom")
    _sections(page, SYMPTOMS)
    page.section("By the line in the log")
    page.paragraph(
        "What Proxmox VE's task log, QEMU and the kernel write when a start fails, with an example of each line. `pvehooks why VMID` finds the line"
        " and names the device, the file or the program."
    )
    for subject in dict.fromkeys(map(_subject, causes().values())):
        page.section(subject)
        for cause in causes().values():
            if _subject(cause) == subject:
                _cause(page, cause)
    page.section("Questions")
    _sections(page, QUESTIONS)
    page.see_also("pvehooks(8)", "pvehooks-rules(7)", "pvehooks.conf(5)", "pvehooksd(8)")
    return page.text()


def _sections(page: Page, texts: dict[str, str]) -> None:
    for title, text in texts.items():
        page.subsection(title)
        page.paragraph(text)


def _subject(cause: Cause) -> str:
    """What the cause's file is about."""
    headline = (sys.modules[cause.message.__module__].__doc__ or "").partition("\n")[0]
    return headline.removeprefix("Failed starts: ").rstrip(".")


def _cause(page: Page, cause: Cause) -> None:
    page.subsection(cause.id)
    page.example([line_of(cause)])
    page.paragraph(cause.explanation)
    page.paragraph(f"What to do: {cause.remedy.replace('{vmid}', 'VMID').replace('{', '').replace('}', '')}")


def line_of(cause: Cause) -> str:
    """A line that shows the cause, from the examples of the tests."""
    return next(line for line in _lines(cause) if cause.pattern.search(line))


def _lines(cause: Cause) -> Iterator[str]:
    for path in (EXAMPLES / f"examples/{cause.id}.txt", *sorted((EXAMPLES / "public").glob("*.txt"))):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if path.stem == cause.id or text.startswith(f"cause: {cause.id}\n"):
            yield from (line.removeprefix("kernel: ").strip() for line in text.splitlines())
