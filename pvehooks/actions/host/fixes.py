"""Which edit fixes the findings of which rule, and which rules get special treatment in a plan."""

from __future__ import annotations

from collections.abc import Callable

from pvehooks.actions.host import edits, settings_edits
from pvehooks.actions.host.draft import Draft
from pvehooks.derived.kernel_args import important, loader_of, plans
from pvehooks.values import Finding, Node, Severity, Unread
from pvehooks.values.boot import CommandLines

Fix = Callable[[Draft, Finding], str]
# In the order in which they are applied: an edit comes after those that it builds on. No rule names its fix: rules do not import actions,
# and the order runs across their files. A test checks that each is a rule.
FIXES: dict[str, Fix] = {
    "cmdline-lines-ignored": edits.join_cmdline,
    "root-argument-missing": edits.restore_root,
    "kernel-pin-missing": edits.unpin_kernel,
    "settings-file-unread": settings_edits.rename_file,
    "settings-line-ignored": settings_edits.correct_line,
    "argument-ignored": settings_edits.correct_arguments,
    "boot-module-unwanted": settings_edits.unload_module,
    "vf-driver-blacklisted": settings_edits.keep_vf_driver,
    "host-driver-blacklisted": edits.allow_driver,
    "vfio-ids-take-host-device": edits.drop_vfio_ids,
    "iommu-inactive": edits.activate_iommu,
    "acs-override-void": edits.drop_void_acs_values,
    "advice-void": edits.drop_void_advice,
    "zfs-root-without-boot-zfs": edits.add_boot_zfs,
    "cmdline-wrong-file": edits.move_arguments,
    "vfio-not-loaded-at-boot": edits.load_vfio,
    "acs-override-in-force": edits.drop_acs_override,
    "iommu-translates-host": edits.add_iommu_pt,
    "kernel-pinned": edits.unpin_kernel,
    "interface-missing": edits.name_interface,
    "initramfs-outdated": edits.rebuild_initramfs,
    "cmdline-not-refreshed": edits.refresh_boot_menu,
    "cmdline-not-in-force": edits.refresh_boot_menu,
}
# Applied only when their rule is named: a matter of taste, or a guess.
ONLY_IF_NAMED = frozenset({"acs-override-in-force", "interface-missing", "iommu-translates-host", "kernel-pinned", "settings-file-unread"})
# Found after every change until its commands are run and the node is restarted.
AFTER_CHANGES = frozenset({"cmdline-not-in-force", "cmdline-not-refreshed", "initramfs-outdated"})
# Only the next boot shows whether the fix was enough.
KNOWN_AFTER_BOOT = frozenset({"interface-missing", "iommu-inactive", "iommu-translates-host"})
# With a finding of these a restart breaks something.
BREAKS_RESTART = ("boot-file-broken", "root-argument-missing", "host-driver-blacklisted", "vfio-ids-take-host-device")


def needs_naming(finding: Finding, node: Node) -> bool:
    """Whether the fix is applied only when its rule is named."""
    if finding.rule == "cmdline-wrong-file":
        lines, loader = node.command_lines, loader_of(node)
        own = plans(lines, loader)[0] if isinstance(lines, CommandLines) and loader is not None else None
        given = () if own is None or isinstance(own.words, Unread) else own.words
        return not important(edits.lost_arguments(node, given))
    return finding.rule in ONLY_IF_NAMED


def breaks_restart(finding: Finding) -> bool:
    """Whether a restart breaks with this finding of BREAKS_RESTART: not what could not be read, nor a file that the boot loader does not read."""
    return finding.examined and (finding.rule != "boot-file-broken" or finding.severity is Severity.BLOCK)
