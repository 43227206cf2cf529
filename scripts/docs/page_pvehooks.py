"""pvehooks(8): the command line."""

from __future__ import annotations

import importlib

from pvehooks.cli.main import VERBS, frame_parser
from scripts.docs import commandline, words
from scripts.docs.roff import Page, bold, inline

# What a verb does beyond its options; its exit status where it is not the common one.
VERB_NOTES = {
    "check": "Looks at the guests' configs and changes nothing."
    " A line for each finding: the guest, the severity, what is wrong, what to type, the rule's id."
    " Ends with 1 if one of the guests would not start.",
    "guest": "Shows the live options, the pending ones, snapshots, and the lines that Proxmox VE cannot read and would lose when it"
    " next rewrites the file. Takes a file as well, which need not lie on a node.",
    "inject": "Writes `rng0` as `[rng]` says, after a backup of the config, and reads it back. A guest named by its VMID gets it whatever the"
    " settings say, also if it was there before pvehooks; a template, a config that Proxmox VE would damage, or a stopped guest with other"
    " changes pending is refused. On a running guest it takes effect at the next start. Ends with 1 if a guest was refused or failed.",
    "undo": "Takes out the `rng0` that pvehooks gave, if it is still as it was given. The guest is not given one again unless you ask."
    " Ends with 1 if one could not be taken out.",
    "backups": "Lists the configs that were kept before a change, the newest first, or shows what differs from the config as it is now."
    " A digest may be shortened. To go back to one, see BACKUPS below.",
    "rules": "The severity shown is the rule's own, before `[rules]` in the settings.",
    "explain": "Prints why the rule is there, what is known, and what to do.",
    "status": "Whether the daemon runs and pmxcfs answers, how many guests have findings, which lack an rng0 and which were given one.",
    "config": "Each option with its value and the file and line that set it. A mistake in a file is said with file and line, and the"
    " command ends with 2.",
}
DESCRIPTION = """\
UEFI guests (OVMF) without a source of entropy have no network boot.
`pvehooksd` watches the VM configs of a Proxmox VE node and gives such guests an `rng0`, or says in the journal why not.
`pvehooks` tells what it sees, explains it, and does or undoes the same by hand.

It looks at the VMs of one node: this one, unless `--root` or `--node` says otherwise. Containers are not looked at.
Only `inject` and `undo` change a guest. None of the verbs starts or stops one.
"""
EXAMPLES = {
    "What is wrong with the guests of this node:": "pvehooks check",
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
    for argument in commandline.frame():
        page.tagged(commandline.tag(argument), commandline.sentence(argument.help))
    _findings(page)
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
    page.synopsis(_usage(name) for name in VERBS)
    page.synopsis([f"{bold('pvehooks')} {' | '.join(bold(argument.flags[-1]) for argument in commandline.frame())}"])
    page.section("Description")
    assert frame_parser().description
    page.paragraphs(DESCRIPTION)


def _usage(name: str) -> str:
    own = [commandline.usage(argument) for argument in commandline.verbs()[name] if argument not in commandline.common()]
    return " ".join((bold(f"pvehooks {name}"), *own, f"[{inline('options')}]"))


def _verbs(page: Page) -> None:
    page.section("Verbs")
    for name, arguments in commandline.verbs().items():
        page.subsection(name)
        page.paragraph(commandline.sentence(VERBS[name]))
        page.paragraph(VERB_NOTES[name])
        for argument in arguments:
            if argument not in commandline.common():
                page.tagged(commandline.tag(argument), commandline.sentence(argument.help))
        page.paragraph("Example:")
        page.example([importlib.import_module(f"pvehooks.cli.{name}").EXAMPLE])


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
