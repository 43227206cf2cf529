"""What an administrator wrote and nothing reads: files, lines, arguments and assignments without effect."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.argument_mistakes import ArgumentMistake, mistakes
from pvehooks.derived.guest_devices import host_device_among
from pvehooks.derived.kernel_args import QUIET, apply, important, loader_of, name_of, place, plans, shown
from pvehooks.derived.setting_lines import of_modprobe, of_modules_load
from pvehooks.rules.engine import RuleSet
from pvehooks.values import Finding, Node, Severity, Unread

RULES = RuleSet(order=42)
_REBUILD = "update-initramfs -u -k all"


@RULES.rule(
    "settings-file-unread",
    Severity.WARNING,
    "Move the file to where its program reads it",
    needs=("setting_files",),
    line="modprobe",
)
def settings_file_unread(node: Node) -> Iterator[Finding]:
    """A file sets up kernel modules, sysctls, sysfs attributes or GRUB, and no program reads it: nothing in it has an effect.

    modprobe, systemd-modules-load and systemd-sysctl read only files that end in .conf, grub-mkconfig only files that end in .cfg.
    A directory with a misspelt name is never read. Debian 13 does not read /etc/sysctl.conf at boot. Files in /etc/sysfs.d need the package
    sysfsutils, whose unit in Debian 13 does nothing without /etc/sysfs.conf.
    `pvehooks host fix` renames files of modprobe.d and modules-load.d. If a file is meant to be inactive, add .disabled to its name.
    Source: modprobe.d(5), modules-load.d(5), sysctl.d(5), grub-mkconfig(8); Debian 13's release notes.
    """
    if isinstance(node.setting_files, Unread):
        return
    for file in node.setting_files.unread:
        message = f"{file.path} has no effect: {file.why}. The file has '{file.example}'"
        yield Finding(file.path, message, file.cure)


@RULES.rule(
    "settings-line-ignored",
    Severity.WARNING,
    "Correct the line, then: update-initramfs -u -k all",
    needs=("pci", "setting_files", "uses"),
    line="modprobe",
)
def settings_line_ignored(node: Node) -> Iterator[Finding]:
    """A line about kernel modules has a mistake, and modprobe, systemd-modules-load or the kernel ignores it or a part of it.

    Common mistakes: `option` in place of `options`, a blank inside `ids=`, an address in place of an id, typographic quotes copied from a
    web page, several modules behind one `blacklist`, parameters in a file of modules-load.d. Nothing reports such a line at boot but
    the kernel's log.
    Source: modprobe.d(5), modules-load.d(5); kmod's libkmod-config.c; the kernel's drivers/vfio/pci/vfio_pci.c (ids).
    """
    if isinstance(node.setting_files, Unread):
        return
    for lines, mistake_of in ((node.setting_files.modprobe, of_modprobe), (node.setting_files.modules, of_modules_load)):
        for line in lines:
            found = mistake_of(line.text)
            if found is not None:
                message = f"line {line.number} of {line.file} is '{line.text.strip()}': {found.why}"
                yield Finding(
                    f"{line.file}, line {line.number}", message, _corrected(f"line {line.number} of {line.file}", found.right, node)
                )


def _corrected(where: str, right: str, node: Node) -> str:
    """How to correct a line of modprobe.d or modules-load.d."""
    device = host_device_among(right, node)
    if device:
        return f"Remove {where}: corrected, it would take {device} from the host. Bind a device by its address: pvehooks bind ADDRESS --persist"
    if not right:
        return f"Correct or remove {where}, then: {_REBUILD}"
    lines = " and ".join(f"'{line}'" for line in right.split("\n"))
    return f"Replace {where} with {'the lines ' if chr(10) in right else ''}{lines}, then: {_REBUILD} && reboot"


@RULES.rule(
    "argument-ignored",
    Severity.WARNING,
    "Correct the argument where the kernel command line is written",
    needs=("command_lines", "loader", "pci", "uses"),
    line="kernel command line",
)
def argument_ignored(node: Node) -> Iterator[Finding]:
    """An argument of the kernel command line is nearly one that the kernel knows, and the kernel ignores it.

    Common mistakes: `vfio-pci-ids=` in place of `vfio-pci.ids=`, `intel_iommu on` in place of `intel_iommu=on`, a comma between two
    arguments, typographic quotes, GRUB's variables in /etc/kernel/cmdline. The kernel hands what it does not know to init and logs one line.
    Source: the kernel's admin-guide/kernel-parameters, drivers/vfio/pci/vfio_pci.c.
    """
    loader = loader_of(node)
    if isinstance(node.command_lines, Unread):
        return
    plan = None if loader is None else plans(node.command_lines, loader)[0]
    words = node.command_lines.running if plan is None or isinstance(plan.words, Unread) else plan.words
    if isinstance(words, Unread):
        return
    where = "the kernel command line" if plan is None or loader is None else place(loader)
    for found in mistakes(words):
        yield Finding(found.written, f"the kernel command line has '{found.written}': {found.why}", _replaced(found, where, node))


def _replaced(found: ArgumentMistake, where: str, node: Node) -> str:
    """How to correct an argument."""
    device = host_device_among(found.right, node)
    if device:
        change = f"Remove '{found.written}' from {where}: corrected, it would take {device} from the host"
    elif found.right:
        change = f"Replace '{found.written}' in {where} with '{found.right}'"
    else:
        change = f"Remove '{found.written}' from {where}"
    loader = loader_of(node)
    return change if loader is None else apply(loader, change)


@RULES.rule(
    "grub-variable-overwritten",
    Severity.WARNING,
    "Write the arguments into the file that is read last",
    needs=("command_lines", "loader"),
    line="kernel command line",
)
def grub_variable_overwritten(node: Node) -> Iterator[Finding]:
    """A variable with kernel arguments is assigned again further down or in a later file, and arguments of the first assignment are lost.

    grub-mkconfig reads /etc/default/grub first and then /etc/default/grub.d/*.cfg by name. The last assignment counts. Providers of rented
    servers and packages put such files there.
    Source: grub-mkconfig(8), "Shell-like configuration".
    """
    loader = loader_of(node)
    if isinstance(node.command_lines, Unread) or loader is None or loader.kind != "grub" or node.command_lines.grub is None:
        return
    plan = node.command_lines.grub
    if isinstance(plan.words, Unread):
        return
    last = {each.variable: each for each in plan.assignments}
    given = set(plan.words)
    for each in plan.assignments:
        final = last[each.variable]
        lost = [word for word in each.value.split() if word not in given and name_of(word) not in QUIET and not word.startswith("$")]
        if each is final or not lost:
            continue
        given.update(lost)
        right = f'{each.variable}="{" ".join((final.value, *lost)).strip()}"'
        message = f"{shown(lost)} in line {each.line} of {each.file} has no effect: line {final.line} of {final.file} assigns {each.variable} again"
        remedy = apply(loader, f"Replace line {final.line} of {final.file} with {right}")
        yield Finding(each.file, message, remedy, severity=Severity.WARNING if important(lost) else Severity.INFO)
