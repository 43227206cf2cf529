"""Stand-ins for the modules of Proxmox VE's Perl that declare what there is, as pve-schema asks them: as we know them, or newer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pvehooks.formats import schema
from pvehooks.formats.checks import Property
from tests.beds.tree import make_fake_tree

_MODULE = (
    "package {name};\nuse strict;\nuse warnings;\nuse JSON::PP ();\nmy $data = JSON::PP->new->decode(<<'DATA');\n{data}\nDATA\n{code}\n1;\n"
)
_OF_SECTIONS = """
sub private { return $data }
for my $type (keys %{ $data->{declared} }) {
    my $class = __PACKAGE__ . '::' . ($type =~ s/\\W//gr);
    my $of = $data->{declared}->{$type};
    no strict 'refs';
    *{"${class}::properties"} = sub { return $of };
    *{"${class}::options"} = sub { return { map { $_ => {} } keys %$of } };
    $data->{plugins}->{$type} = $class;
}
"""


def _properties(declared: Mapping[str, Property], more: Mapping[str, Iterable[str]]) -> dict[str, dict[str, list[str]]]:
    known = {name: list(each.enum) for name, each in declared.items()}
    known.update({name: [*known.get(name, ()), *values] for name, values in more.items()})
    return {name: {"enum": values} if values else {} for name, values in known.items()}


def _rules(more: Mapping[str, Mapping[str, Iterable[str]]]) -> object:
    rules = {
        kind: {name: {"enum": [*values, *more.get(kind, {}).get(name, ())]} for name, values in known.items()}
        for kind, known in schema.HA_RULES.items()
    }
    for kind, given in more.items():
        for name, values in given.items():
            rules.setdefault(kind, {}).setdefault(name, {"enum": list(values)})
    return rules


def _resources(more: Iterable[str]) -> object:
    known = {**schema.HA_RESOURCES["vm"], **dict.fromkeys(more, ())}
    return {"vm": {name: {"enum": list(values)} for name, values in known.items()}}


def modules(
    *,
    options: Iterable[str] = (),
    properties: Mapping[str, Mapping[str, Iterable[str]]] | None = None,
    mapping: Iterable[str] = (),
    cpu_models: Iterable[str] = (),
    ha_rules: Mapping[str, Mapping[str, Iterable[str]]] | None = None,
    ha_resource: Iterable[str] = (),
    storages: Iterable[str] = (),
    sections: Iterable[str] = (),
    machine_revisions: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """The modules' texts by path; what is given is there beside what our tables have. `properties` are by option without its number."""
    given = properties or {}
    confdesc: dict[str, object] = {name: {} for name in options}
    for name, each in schema.OPTIONS.items():
        known = schema.PROPERTY_STRINGS.get(each.format)
        confdesc[name] = {"format": _properties(known, given.get(name.rstrip("0123456789"), {})) if known else "text"}
    special = ", ".join(f"'{name}' => $data" for name in (*schema.SPECIAL_SECTIONS, *sections))
    texts = {
        "PVE/JSONSchema.pm": "package PVE::JSONSchema;\nsub get_format { return sub { 1 } }\n1;\n",
        "PVE/QemuServer/CPUFlags.pm": _module(
            "PVE::QemuServer::CPUFlags", list(schema.VM_CPU_FLAGS), "sub supported_cpu_flags_names { return @$data }"
        ),
        "PVE/QemuServer.pm": _module(
            "PVE::QemuServer",
            {"options": confdesc, "models": [{"name": name} for name in (*schema.CPU_MODELS, *cpu_models)]},
            f"use PVE::JSONSchema;\nmy $special_schemas = {{ {special} }};\nsub json_config_properties {{ return {{ %{{ $_[0] }}, %{{ $data->{{options}} }} }} }}\n"
            "print 'a word on standard output';\nsub PVE::QemuServer::CPUConfig::get_cpu_models { return $data->{models} }",
        ),
        "PVE/QemuServer/Machine.pm": _machine(machine_revisions or {}),
        "PVE/HA/Rules.pm": _module("PVE::HA::Rules", {"declared": _rules(ha_rules or {}), "propertyList": {}}, _OF_SECTIONS),
        "PVE/HA/Resources.pm": _module("PVE::HA::Resources", {"declared": _resources(ha_resource), "propertyList": {}}, _OF_SECTIONS),
        "PVE/HA/Env/PVE2.pm": "package PVE::HA::Env::PVE2;\nuse PVE::HA::Rules;\nuse PVE::HA::Resources;\n1;\n",
        "PVE/Storage.pm": _module(
            "PVE::Storage",
            {"plugins": {**dict.fromkeys((*schema.STORAGE_TYPES, *storages), "PVE::Storage::X"), "mine": "PVE::Storage::Custom::Mine"}},
            "sub PVE::Storage::Plugin::private { return $data }",
        ),
    }
    for kind, name in (("pci", "PCI"), ("usb", "USB"), ("dir", "Dir")):
        form = _properties(schema.PROPERTY_STRINGS[f"{kind}-map"], dict.fromkeys(mapping if kind == "pci" else (), ()))
        texts[f"PVE/Mapping/{name}.pm"] = _module(
            f"PVE::Mapping::{name}",
            {"propertyList": {"map": {"items": {"format": form}}}},
            "use PVE::JSONSchema;\nsub private { return $data }",
        )
    return texts


def _machine(more: Mapping[str, int]) -> str:
    revisions = {name: {"highest": number} for name, number in {**schema.MACHINE_REVISIONS, **more}.items()}
    return _module("PVE::QemuServer::Machine", revisions, "our $PVE_MACHINE_VERSION = $data;")


def _module(name: str, data: object, code: str) -> str:
    return _MODULE.replace("{name}", name).replace("{data}", json.dumps(data)).replace("{code}", code)


def install(directory: Path, texts: Mapping[str, str]) -> Path:
    """Puts them into a directory of Perl's."""
    return make_fake_tree(directory, texts)
