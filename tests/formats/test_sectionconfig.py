"""Section configs: mappings, custom CPU models, storages."""

from typing import Literal

import pytest

from pvehooks.formats.sectionconfig import Problem, Section, parse_cpu_models, parse_mapping, parse_storages

GPU = "node=pve1,path=0000:01:00.0;0000:01:00.1,id=10de:2204,iommugroup=14,subsystem-id=1043:87d0"
GPU_PARTS = {"node": "pve1", "path": "0000:01:00.0;0000:01:00.1", "id": "10de:2204", "iommugroup": "14", "subsystem-id": "1043:87d0"}

SKIPPED = "the line is in a section that PVE skips"
NO_OPTION = "not an option (is the empty line before the next section missing?)"

PCI = f"""\
# devices of the cluster
gpu
\tdescription a card
\tmap {GPU}
\t# a comment within
\tmap node=pve2,path=0000:41:00,id=10de:2204
\tmdev 1

nic-2 \t
    map node=pve1,path=0000:02:00.0,id=8086:1572
    live-migration-capable
"""


def test_pci_mappings() -> None:
    config = parse_mapping(PCI.encode())
    assert config.problems == ()
    assert config.sections == (
        Section(
            "gpu",
            "pci",
            2,
            {"description": "a card", "mdev": "1"},
            (GPU_PARTS, {"node": "pve2", "path": "0000:41:00", "id": "10de:2204"}),
        ),
        Section(
            "nic-2",
            "pci",
            9,
            {"live-migration-capable": "1"},
            ({"node": "pve1", "path": "0000:02:00.0", "id": "8086:1572"},),
        ),
    )


@pytest.mark.parametrize(
    "kind, line, parts",
    [
        ("usb", "node=pve1,id=1234:abcd,path=1-2.3", {"node": "pve1", "id": "1234:abcd", "path": "1-2.3"}),
        ("dir", "node=pve1,path=/mnt/share", {"node": "pve1", "path": "/mnt/share"}),
    ],
)
def test_other_mappings(kind: Literal["usb", "dir"], line: str, parts: dict[str, str]) -> None:
    config = parse_mapping(f"it\n\tmap {line}\n".encode(), kind)
    assert config == ((Section("it", kind, 1, {}, (parts,)),), ())


@pytest.mark.parametrize(
    "text, problems",
    [
        pytest.param("gpu\n\tmdev 1\n", [(1, "'gpu' has no map")], id="no map"),
        pytest.param(f"1gpu\n\tmap {GPU}\n", [(1, "'1gpu' cannot be a name here"), (2, SKIPPED)], id="name"),
        pytest.param(f"a b\n\ngpu\n\tmap {GPU}\n", [(1, "not the header of a section: 'a b'")], id="no header"),
        pytest.param(f"gpu\n\tmap {GPU}\n\tfoo 1\n", [(3, "unknown option 'foo'")], id="unknown option"),
        pytest.param(f"gpu\n\tmap {GPU}\n\tmdev maybe\n", [(3, "mdev is not a boolean: 'maybe'")], id="bad value"),
        pytest.param(f"gpu\n\tmap {GPU}\n\tmdev yes\n", [(3, "mdev is not a boolean: 'yes'")], id="booleans are 0 and 1 here"),
        pytest.param(f"gpu\n\tmap {GPU}\n\tmap x\n", [(3, "map: 'x' has no key")], id="bad map"),
        pytest.param(f"gpu\n\tmap {GPU}\n\tmap\n", [(3, "'map' has no value")], id="empty map"),
        pytest.param(f"gpu\n\tmap {GPU}\n\tdescription\n", [(3, "'description' has no value")], id="no value"),
        pytest.param(f"gpu\n\tmap {GPU}\n\tmdev 1\n\tmdev 0\n", [(4, "'mdev' is given twice")], id="twice"),
        pytest.param(f"gpu\n\tmap {GPU}\n\tdescription a\rb\n", [(3, "'description' contains a carriage return")], id="CR"),
        pytest.param(f"gpu\n\tmap {GPU}\n\ngpu\n\tmap {GPU}\n", [(1, "'gpu' comes again in line 4, which counts")], id="section twice"),
        pytest.param(
            f"gpu\n\tmap {GPU}\nnic\n",
            [(3, f"{NO_OPTION}: 'nic'")],
            id="no empty line",
        ),
        pytest.param(
            f"gpu\n\tmap {GPU}\n \n",
            [(3, f"{NO_OPTION}: ' '")],
            id="blank, not empty",
        ),
    ],
)
def test_problems(text: str, problems: list[tuple[int, str]]) -> None:
    assert list(parse_mapping(text.encode()).problems) == [Problem(*problem) for problem in problems]


def test_sections_run_together_without_an_empty_line() -> None:
    """As PVE reads it: the second section's devices are the first one's."""
    config = parse_mapping(f"gpu\n\tmap {GPU}\nnic\n\tmap node=pve1,path=0000:02:00.0,id=8086:1572\n".encode())
    assert [(section.name, len(section.maps)) for section in config.sections] == [("gpu", 2)]


def test_a_zero_ends_a_section() -> None:
    assert [section.name for section in parse_mapping(f"a1\n\tmap {GPU}\n0\nb1\n\tmap {GPU}".encode()).sections] == ["a1", "b1"]


def test_the_later_section_takes_the_later_place() -> None:
    text = "".join(f"{name}\n\tmap {GPU}\n\n" for name in ("a1", "b1", "a1"))
    assert [section.name for section in parse_mapping(text.encode()).sections] == ["b1", "a1"]


CPU_MODELS = b"""\
cpu-model: avx
    flags +avx;+avx2;-rdrand
    phys-bits host
    hidden 1
    reported-model Haswell

cpu-model: plain

other: x
    flags +avx
"""


def test_cpu_models() -> None:
    config = parse_cpu_models(CPU_MODELS)
    assert config.sections == (
        Section(
            "avx",
            "cpu-model",
            1,
            {"flags": "+avx;+avx2;-rdrand", "phys-bits": "host", "hidden": "1", "reported-model": "Haswell"},
            (),
        ),
        Section("plain", "cpu-model", 7, {}, ()),
    )
    assert [problem.line for problem in config.problems] == [9, 10]


@pytest.mark.parametrize("line", ["flags avx", "reported-model Cray-1", "cputype host", "level -1", "hidden yes", "map x", "flags"])
def test_bad_cpu_models(line: str) -> None:
    config = parse_cpu_models(f"cpu-model: bad\n\t{line}\n".encode())
    assert [dict(section.options) for section in config.sections] == [{}]
    assert len(config.problems) == 1


def test_storages() -> None:
    config = parse_storages(
        b"dir: local\n\tpath /var/lib/vz\n\tcontent iso,snippets\n\tnodes pve1\n\nZFSpool: tank\n\tpool tank/vm\n\tsparse\n\nfoo: a\n"
    )
    assert config.sections == (
        Section("local", "dir", 1, {"path": "/var/lib/vz", "content": "iso,snippets"}, ()),
        Section("tank", "zfspool", 6, {"pool": "tank/vm", "sparse": "1"}, ()),
    )
    assert config.problems == (Problem(10, "'a' cannot be a name here"),)


@pytest.mark.parametrize(
    "raw", [b"", b"dir: other\n\tpath /mnt\n", b"dir: local\n\tcontent iso\n", b"dir: local\n\tpath /mnt\n", b"nfs: local\n\tpath /mnt\n"]
)
def test_local_is_always_there_and_always_the_same(raw: bytes) -> None:
    (local,) = (section for section in parse_storages(raw).sections if section.name == "local")
    assert (local.type, local.options["path"]) == ("dir", "/var/lib/vz")
    assert "snippets" in local.options["content"].split(",")


def test_a_local_that_pve_ignores_is_a_problem() -> None:
    (problem,) = parse_storages(b"\ndir: local\n\tpath /mnt\n").problems
    assert problem == Problem(2, "PVE ignores this entry: 'local' is always the directory /var/lib/vz")


def test_a_directory_without_a_path_does_not_count() -> None:
    config = parse_storages(b"dir: other\n\tcontent iso\n")
    assert [section.name for section in config.sections] == ["local"]
    assert config.problems == (Problem(1, "'other' has no path"),)


def test_an_empty_file() -> None:
    assert parse_mapping(b"") == ((), ())
    assert parse_cpu_models(b"\n\n") == ((), ())
