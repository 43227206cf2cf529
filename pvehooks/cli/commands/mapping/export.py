"""pvehooks mapping export: the PCI mappings for Terraform, Ansible or a program."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping

from pvehooks.cli import envelope
from pvehooks.cli.commands.mapping import add
from pvehooks.cli.view import view
from pvehooks.errors import EXIT_OK, NodeError, UsageError
from pvehooks.facts.cluster import mappings
from pvehooks.formats import sectionconfig
from pvehooks.formats.sectionconfig import Section
from pvehooks.host import Host

SUMMARY = "write the mappings for Terraform, Ansible or a program"
EXAMPLE = "pvehooks mapping export --terraform"
# Keys of an entry: PVE's, and those of the Terraform provider bpg/proxmox (proxmox_virtual_environment_hardware_mapping_pci).
_TERRAFORM = {
    "description": "comment",
    "id": "id",
    "iommugroup": "iommu_group",
    "node": "node",
    "path": "path",
    "subsystem-id": "subsystem_id",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument("name", nargs="*", metavar="MAPPING", help="only these mappings (default: all)")
    parser.add_argument("--terraform", action="store_true", help="resources of the provider bpg/proxmox")
    parser.add_argument("--ansible", action="store_true", help="variables for the role in /usr/share/doc/pvehooks/examples/ansible")


def run(options: argparse.Namespace) -> int:
    """Prints them; nothing is changed."""
    if options.terraform + options.ansible + options.json != 1:
        raise UsageError("give one of --terraform, --ansible and --json", hint=f"Example: {EXAMPLE}")
    seen = view(options)
    known = add.known_mappings(seen.facts())
    wrong = [name for name in options.name if name not in known] + [name for name, each in known.items() if each.trouble]
    if wrong:
        raise NodeError(f"there is no well-formed PCI mapping '{wrong[0]}'", hint="See: pvehooks mapping check")
    sections = [each for each in _sections(seen.host) if not options.name or each.name in options.name]
    if options.json:
        envelope.show(seen.host, seen.node, {"mappings": [_as_values(each) for each in sections]})
    else:
        print((_terraform if options.terraform else _ansible)(sections), end="")
    return EXIT_OK


def _sections(host: Host) -> list[Section]:
    try:
        return sorted(sectionconfig.parse_mapping(host.read(mappings.PCI_MAPPINGS)).sections)
    except FileNotFoundError:
        return []


def _as_values(section: Section) -> dict[str, object]:
    return {
        "name": section.name,
        "description": section.options.get("description", ""),
        "mdev": section.options.get("mdev") == "1",
        "live_migration_capable": section.options.get("live-migration-capable") == "1",
        "map": [dict(each) for each in section.maps],
    }


def _ansible(sections: list[Section]) -> str:
    """JSON's texts are YAML's, too."""
    lines = ["---", "pvehooks_mappings:" if sections else "pvehooks_mappings: []"]
    for each in sections:
        lines += [f"  - name: {json.dumps(each.name)}", f"    mdev: {'true' if each.options.get('mdev') == '1' else 'false'}", "    map:"]
        lines += [f"      - {json.dumps(','.join(f'{key}={value}' for key, value in entry.items()))}" for entry in each.maps]
    return "\n".join(lines) + "\n"


def _terraform(sections: list[Section]) -> str:
    return "\n".join(line for each in sections for line in _resource(each)) + ("\n" if sections else "")


def _resource(section: Section) -> Iterator[str]:
    yield f'resource "proxmox_virtual_environment_hardware_mapping_pci" {_hcl(section.name)} {{'
    if section.options.get("description"):
        yield f"  comment = {_hcl(section.options['description'])}"
    if section.options.get("mdev") == "1":
        yield "  mediated_devices = true"
    yield f"  name = {_hcl(section.name)}"
    yield "  map = ["
    for entry in section.maps:
        yield "    {"
        yield from (f"      {key} = {value}" for key, value in _entry(entry))
        yield "    },"
    yield "  ]"
    yield "}"


def _entry(entry: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in sorted(entry.items()):
        if name in _TERRAFORM:
            yield _TERRAFORM[name], value if name == "iommugroup" and value.isdecimal() else _hcl(value)


def _hcl(text: str) -> str:
    """A quoted text of HCL: as JSON's, with ${ and %{ doubled, which begin templates."""
    return json.dumps(text).replace("${", "$${").replace("%{", "%%{")
