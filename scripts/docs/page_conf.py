"""pvehooks.conf(5): the settings."""

from __future__ import annotations

from pvehooks.settings.compiled import CLUSTER_FILE, NODE_FILE
from pvehooks.settings.file import MAX_BYTES
from pvehooks.settings.table import OPTIONS, Option, written
from scripts.docs import words
from scripts.docs.roff import Page, bold

DESCRIPTION = f"""\
Settings of pvehooksd(8) and pvehooks(8). Without any file, the built-in values apply.

The same option may be set in several places. From the weakest to the strongest: the built-in value, `{CLUSTER_FILE}` (all nodes),
`{NODE_FILE}` (this node), and for a VM its `[guest VMID]` section. Of two sections for the same VM, the node's takes precedence over
the cluster's, option by option. `pvehooks config` shows what is in effect, with the file and line that set it.
/usr/share/doc/pvehooks/examples/pvehooks.conf has all options with their built-in values, to copy from.

The daemon notices a changed file automatically, at the latest after `[watch] interval`; at once with `systemctl reload pvehooks`.
"""
SYNTAX = f"""\
A file is UTF-8 text of at most {MAX_BYTES >> 20} MiB.
`[name]` begins a section, `[[name]]` a section within it, `option = value` sets an option. `#` begins a comment.

In names of options `-` and `_` are the same: `after-stop` is `after_stop`.

A value that contains `#` must be in quotes. Between triple quotes a value may span several lines.

An unknown section or option, one that is given twice, or a value that is not allowed is an error: the file is not used.
The message names the file, the line and the nearest valid name.
A running daemon and the guard keep the old settings; a daemon that starts waits until the file is fixed.
A command ends with exit status 2. The commands that let a VM start again (`allow`, `detach`, `trust`, `undo`) use the built-in settings
instead.
"""
SECTIONS = {
    "rng": "What is done about VMs without an rng0.",
    "guard": "What is checked when a VM with passed-through devices starts.",
    "firmware": "What is checked when a VM with a firmware image of its own starts.",
    "watch": "How changes are noticed.",
    "cluster": "What the nodes of a cluster publish for each other.",
    "notify": "About what messages are sent to people, by Proxmox VE's notifications and by /etc/pvehooks/notify.d; see pvehooks(8).",
    "metrics": "What is written for monitoring; pvehooksd(8) lists the metrics.",
    "gui": "What Proxmox VE's web interface shows of pvehooks; both are off unless you switch them on, and go when they are switched off and when the"
    " package is removed.\n\nA tag follows what is found after two minutes, and at most four times an hour, so that what"
    " comes and goes does not write configs all the time; a locked VM waits. Templates have none. While it is on, the two tags belong to pvehooks: one that"
    " a person sets is taken away, one that a person takes away comes back when something else is found."
    " A VM whose other tags Proxmox VE would write anew (sort them, write them in lower case or with semicolons) gets none; the"
    " journal says what to type. A tag is no edit: a VM that existed before pvehooks stays one. No copy of the config is kept once the tag reads back"
    " as written. Everybody who may edit a VM may set these tags: nothing in pvehooks depends on them."
    "\n\nThe block in the node's notes has at most 8 KiB and lies between two HTML comments that the interface does not show. It is written by Proxmox VE's"
    " own code, with its lock, if the rest of the file stays as it is byte by byte; if not, the journal says what to do. What is written into the block by"
    " hand is overwritten; a block that is deleted, or whose comments are edited, is left alone until it is switched off and on. Names of VMs are escaped.",
    "rules": "The severity of rules. pvehooks-rules(7) describes them.",
    "device DEVICE": "Settings for one PCI device of this node: `DEVICE` is its address (`0000:01:00.0`, or `01:00` for all functions of a slot), or"
    " its ids (`144d:a808`), with `serial` and the serial number of the disk or of the PCIe function where several devices have them. Ids that"
    " several devices have name none. Of several sections about a device, the most precise one that sets an option counts.",
    "guest VMID": "Settings for one VM only: the number is its VMID.",
}
EXAMPLES = {
    "Only report, change nothing:": """\
[rng]
mode = warn
""",
    "Every UEFI VM gets an rng0, also those that existed before pvehooks or whose CPU model has RDRAND:": """\
[rng]
scope = all
existing = inject
skip_with_rdrand = no
""",
    "One rule is more severe, another less:": """\
[rules]
rng-pending-removal = block
rng-unlimited = info
""",
    "The devices of VM 100 go back to their drivers when it ends, and this graphics card after each VM, although its driver is one that often"
    " hangs when a card is taken from it:": """\
[guest 100]
[[guard]]
after_stop = return

[device 10de:2204]
return_to = nvidia
""",
    "This device is dead after most stops: it is taken off the bus and looked for again before each start, and its power never goes:": """\
[device 0000:03:00.0]
before_start = rescan
d3cold = no
""",
    "VM 100 boots from its disk and is not changed; VM 101 uses the node's hardware generator:": '''\
[guest 100]
ignore = rng-missing-netboot: boots from its local disk only

[guest 101]
ignore = """
    rng-unlimited: trusted, measured
    config-crlf: edited on Windows
    """
[[rng]]
source = /dev/hwrng
max_bytes = 4096
''',
}


def make(date: str) -> str:
    """The page."""
    page = Page("pvehooks.conf", 5, "settings of pvehooks", date)
    page.section("Synopsis")
    page.synopsis([bold(CLUSTER_FILE), bold(NODE_FILE)])
    page.section("Description")
    page.paragraphs(DESCRIPTION)
    page.section("Syntax")
    page.paragraphs(SYNTAX)
    page.section("Options")
    for section in dict.fromkeys(option.section for option in OPTIONS):
        _section(page, section)
    page.section("Examples")
    for text, lines in EXAMPLES.items():
        page.paragraph(text)
        page.example(lines.splitlines())
    words.files(page, CLUSTER_FILE, NODE_FILE)
    page.see_also("pvehooks-troubleshooting(7)", "pvehooks(8)", "pvehooksd(8)", "pvehooks-rules(7)")
    return page.text()


def _section(page: Page, section: str) -> None:
    page.subsection(f"[{section}]")
    page.paragraph(SECTIONS[section])
    for option in OPTIONS:
        if option.section == section:
            page.tagged(bold(f"{option.name} ="), option.doc, _limits(option))
    if section.startswith("guest"):
        names = [option for option in OPTIONS if option.per_guest]
        for inner in dict.fromkeys(option.section for option in names):
            own = ", ".join(f"`{option.name}`" for option in names if option.section == inner)
            page.tagged(bold(f"[[{inner}]]"), f"These options of `[{inner}]` for this VM: {own}.")


def _limits(option: Option) -> str:
    parts = [f"Allowed: {option.allowed}."]
    if option.default is not None:
        parts.append(f"Default: `{written(option.default)}`.")
    if option.per_guest:
        parts.append("Also per VM.")
    return " ".join(parts)
