"""Arguments of the kernel command line that are nearly, but not quite, those that passthrough needs: the kernel ignores them silently."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.derived.kernel_args import name_of
from pvehooks.derived.setting_lines import ids_mistake, plain
from pvehooks.values import NamedTuple

# The values that the kernel knows (its admin-guide/kernel-parameters; relax_rmrr is Proxmox's).
_VALUES = {
    "intel_iommu": frozenset("on off igfx_off forcedac strict sp_off sm_on sm_off tboot_noforce nobounce relax_rmrr".split()),
    "iommu": frozenset(
        "on off force noforce biomerge panic nopanic merge nomerge soft pt nopt fullflush allowdac usedac noagp memaper 1".split()
    ),
    "amd_iommu": frozenset(
        "on off fullflush force_isolation force_enable pgtbl_v1 pgtbl_v2 irtcachedis nohugepages v2_pgsizes_only".split()
    ),
}
# What guides for passthrough have people write, as it is written.
_KNOWN = (
    *_VALUES,
    "pcie_acs_override",
    "vfio-pci.ids",
    "vfio-pci.disable_vga",
    "vfio-pci.disable_idle_d3",
    "vfio_iommu_type1.allow_unsafe_interrupts",
    "kvm.ignore_msrs",
    "kvm.report_ignored_msrs",
    "kvm_intel.nested",
    "kvm_amd.nested",
    "i915.enable_guc",
    "i915.max_vfs",
    "i915.enable_gvt",
    "i915.force_probe",
    "xe.max_vfs",
    "xe.force_probe",
    "module_blacklist",
    "modprobe.blacklist",
    "initcall_blacklist",
    "hugepages",
    "hugepagesz",
    "default_hugepagesz",
    "isolcpus",
    "nohz_full",
    "rcu_nocbs",
    "pcie_aspm",
    "pcie_port_pm",
    "nomodeset",
    "intremap",
)
_SPELT = {name_of(name): name for name in _KNOWN}
_BARE = {re.sub(r"[^a-z0-9]", "", name): name for name in _KNOWN}
_JOINED = {
    re.sub(r"[^a-z0-9]", "", f"{name}{value}"): f"{name}={value}"
    for name, values in {"intel_iommu": ("on", "off"), "iommu": ("pt",), "amd_iommu": ("off",)}.items()
    for value in values
}
# Real arguments of these names are near to none of the above, or must not be taken for them.
_NEAR = 0.9
_SHORTEST = 8


class ArgumentMistake(NamedTuple):
    """The arguments as they stand ("intel_iommu on"), why they have no effect, and what should stand there ('' for nothing)."""

    written: str
    why: str
    right: str


def mistakes(words: tuple[str, ...]) -> Iterator[ArgumentMistake]:
    """The mistakes among the arguments of a command line, in their order."""
    for at, word in enumerate(words):
        found = _mistake(word, words[at + 1] if at + 1 < len(words) else "")
        if found is not None:
            yield found


def _mistake(word: str, after: str) -> ArgumentMistake | None:
    name, equals, value = word.partition("=")
    if plain(word) != word:
        right = plain(word).strip("\"'")
        again = _mistake(right, after) if right else None
        return ArgumentMistake(
            word, "it has typographic quotes, dashes or blanks, and the kernel ignores it", again.right if again else right
        )
    if name.startswith("GRUB_"):
        return ArgumentMistake(word, f"{name} is a variable of /etc/default/grub, and the kernel ignores it", value.strip("\"'"))
    if word.startswith("#"):
        return ArgumentMistake(word, "the kernel command line has no comments", "")
    known = _SPELT.get(name_of(word))
    if known is not None:
        return _value_mistake(word, known, value, after)
    if word.lower() != word and name_of(word.lower()) in _SPELT:
        return ArgumentMistake(word, "the kernel distinguishes upper and lower case and ignores it", word.lower())
    joined = _JOINED.get(re.sub(r"[^a-z0-9]", "", word.lower()))
    if joined is not None:
        return ArgumentMistake(word, f"the kernel has no argument '{name}' and ignores it", joined)
    near = _near(name) if equals or len(name) >= _SHORTEST else ""
    if near:
        return ArgumentMistake(word, f"the kernel has no argument '{name}' and ignores it", f"{near}{equals}{value}")
    if name in ("blacklist", "ids") and equals:
        return ArgumentMistake(
            word,
            f"the kernel has no argument '{name}' and ignores it",
            f"{'modprobe.blacklist' if name == 'blacklist' else 'vfio-pci.ids'}={value}",
        )
    return None


def _near(name: str) -> str:
    """The argument whose name differs only in separators, or in a letter or two."""
    from difflib import SequenceMatcher

    bare = _BARE.get(re.sub(r"[^a-z0-9]", "", name.lower()))
    if bare is not None:
        return bare
    if len(name) < _SHORTEST or "." in name:
        return ""
    spelt = name.replace("-", "_")
    ratio, known = max((SequenceMatcher(None, spelt, each).ratio(), each) for each in _KNOWN if "." not in each)
    return known if ratio >= _NEAR else ""


def _value_mistake(word: str, known: str, value: str, after: str) -> ArgumentMistake | None:
    """What is wrong with the value of an argument that the kernel has."""
    name = word.partition("=")[0]
    if known in _VALUES:
        if not value:
            right = f"{name}={after}" if after in _VALUES[known] else ""
            written = f"{word} {after}" if right else word
            return (
                ArgumentMistake(written, f"the value follows {name} after =, without blanks; the kernel ignores it like this", right)
                if right
                else None
            )
        wrong = next((each for each in value.split(",") if each and each not in _VALUES[known]), "")
        if "=" in wrong:
            return ArgumentMistake(
                word, f"a blank separates two arguments, not a comma; the kernel ignores {wrong}", word.replace(f",{wrong}", f" {wrong}")
            )
        if wrong == "pt":
            kept = ",".join(each for each in value.split(",") if each != "pt") or ("on" if known == "intel_iommu" else "")
            return ArgumentMistake(
                word, f"pt is a value of iommu, not of {name}, and the kernel ignores it", f"{name}={kept} iommu=pt" if kept else "iommu=pt"
            )
        if wrong:
            stripped = wrong.strip(".;:'\"").lower()
            right = word.replace(wrong, stripped) if stripped in _VALUES[known] else ""
            return ArgumentMistake(word, f"{name} has no value '{wrong}', and the kernel ignores that value", right)
    if known == "vfio-pci.ids":
        if value and after and ids_mistake(after) is None:
            right = f"{word.rstrip(',')},{after}"
            return ArgumentMistake(f"{word} {after}", f"a blank ends the value, and the kernel ignores {after}", right)
        if after and ids_mistake(after) is None:
            return ArgumentMistake(
                f"{word} {after}", f"the value follows {name} after =, without blanks; the kernel ignores it like this", f"{name}={after}"
            )
        found = ids_mistake(value) if value else None
        if found is not None:
            return ArgumentMistake(word, found.why, f"{name}={found.right}" if found.right else "")
    return None
