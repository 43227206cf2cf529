"""Any config, on nodes that are known wholly, in part, or not at all: no rule fails, and what it says can be understood and typed."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.formats.checks import FORMATS, Property
from pvehooks.formats.schema import OPTIONS, PROPERTY_STRINGS
from pvehooks.host import Host
from pvehooks.rules import catalogue
from pvehooks.rules.engine import Rule
from pvehooks.values import Node
from tests.beds import pci, usb, uses
from tests.beds.tree import Content, make_fake_tree
from tests.conftest import SHARED_DATA
from tests.rules import texts_of_findings
from tests.rules.asked import findings_of, rules_about

CLUSTER: dict[str, Content] = {
    "etc/pve/nodes/pve1/qemu-server/101.conf": "name: other\nonboot: 1\nivshmem: size=64,name=shared\nusb0: host=1050:0407\nhostpci0: 0000:02:00.0\n",
    "etc/pve/nodes/pve2/lrm_status": "",
    "etc/pve/ha/resources.cfg": "vm: 100\n\tstate started\n\n",
    "etc/pve/mapping/usb.cfg": "key\n\tmap node=pve1,id=1050:0407\n\n",
    "etc/pve/mapping/pci.cfg": "gpu\n\tlive-migration-capable 1\n\tmap node=pve1,path=0000:01:00.0,id=10de:2204\n\n",
    "etc/pve/mapping/directory.cfg": "share\n\tmap node=pve1,path=/srv\n\n",
    "etc/pve/storage.cfg": "dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\nlvm: thick\n\tvgname v\n\tcontent images\n\nnfs: far\n\tserver s\n\texport /e\n\tnodes pve2\n",
}
WHOLE: dict[str, Content] = {
    **CLUSTER,
    **uses.idle(),
    **pci.plant(
        "0000:01:00.0 class=030000 id=10de:2204 driver=nouveau group=1\n0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=2\n"
    ),
    **usb.plant("usb1 at=0000:00:14.0\n1-2 id=1050:0407\n1-3 id=0bda:2838\n1-4 id=0bda:2838\n1-5 id=05e3:0608 hub=1\n"),
    "proc/cpuinfo": "flags : fpu aes\n",
    "dev/shm/pve-shm-shared": "x",
    "usr/share/pve-edk2-firmware/OVMF_CODE_4M.fd": "",
}
# What reads as nothing: folders in place of files.
BROKEN: dict[str, Content] = dict.fromkeys(
    (
        *CLUSTER,
        "proc/cpuinfo",
        "proc/meminfo",
        "sys/bus/usb/devices/1-2/idVendor",
        "sys/bus/pci/devices/0000:01:00.0/class",
        "dev/shm/pve-shm-a",
    )
)
VOLUMES = (
    "local-lvm:vm-100-disk-0",
    "thick:vm-100-disk-1",
    "local:100/vm-100-disk-0.qcow2",
    "far:iso/a.iso",
    "gone:x",
    "/dev/vg/disk",
    "none",
)
# Texts for what has a pattern or a format; the enumerations and numbers are taken from the schema.
TEXTS = {
    "host": ("0000:01:00.0", "01:00", "0000:02:00.0;0000:01:00.0", "1050:0407", "0bda:2838", "1-2", "1-9", "1-5", "spice", "SPICE"),
    "mapping": ("gpu", "key", "share", "gone"),
    "dirid": ("share", "gone", "s" * 40),
    "name": ("shared", "other"),
    "type": ("pc", "q35", "pc-i440fx-4.0", "pc-q35-9.2+pve1", "virt"),
    "order": ("scsi0;net0", "net0;scsi0", "ide2", "hostpci0", "gone0;virtio1", "usb0", ""),
    "legacy": ("cdn", "n", "ncd", "c"),
    "cputype": ("host", "kvm64", "qemu32", "EPYC", "custom-mine"),
    "creation-qemu": ("9.2.0", "8.1"),
    "macaddr": ("BC:24:11:2C:69:EC",),
    "bridge": ("vmbr0",),
    "mdev": ("nvidia-65",),
    "romfile": ("card.rom",),
    "size": ("32G", "4M"),
    "file": VOLUMES,
}
PLAIN = {
    "arch": ("x86_64", "aarch64"),
    "args": ("-cpu host", "-kernel /k", "-bios /f", "-spice port=1", "-device x"),
    "bios": ("ovmf", "seabios"),
    "bootdisk": ("scsi0", "ide0"),
    "hookscript": ("local:snippets/a.pl", "gone:snippets/b"),
    "hotplug": ("1", "0", "memory,disk", "memory"),
    "lock": ("backup", "suspending", "suspended"),
    "name": ("web", "a.b"),
    "ostype": ("l26", "win11", "win7", "wxp", "other"),
    "parallel": ("/dev/parport0",),
    "serial": ("socket", "/dev/ttyS0"),
    "vmstate": ("local-lvm:vm-100-state-x",),
}


def values(prop: Property, name: str) -> st.SearchStrategy[str]:
    if prop.enum:
        return st.sampled_from(prop.enum)
    if prop.type == "boolean":
        return st.sampled_from(("0", "1", "on"))
    if prop.type in ("integer", "number"):
        least, most = int(prop.minimum or 0), int(prop.maximum or 4096)
        return st.sampled_from([str(number) for number in sorted({least, least + 1, 48, 64, most}) if least <= number <= most])
    known = [text for text in TEXTS.get(name, ()) if accepted(prop, text)]
    return st.sampled_from(known) if known else st.nothing()


def accepted(prop: Property, text: str) -> bool:
    return (not prop.pattern or re.fullmatch(prop.pattern, text) is not None) and (not prop.format or FORMATS[prop.format].accepts(text))


@st.composite
def property_strings(draw: st.DrawFn, form: str) -> str:
    found = []
    for name, prop in draw(st.permutations(list(PROPERTY_STRINGS[form].items()))):
        strategy = st.nothing() if prop.alias else values(prop, name)
        if not strategy.is_empty and (prop.required or draw(st.booleans())):
            value = draw(strategy)
            found.append(value if prop.default_key and draw(st.booleans()) else f"{name}={value}")
    return ",".join(found)


def option(name: str) -> st.SearchStrategy[str]:
    kind, family = OPTIONS[name], name.rstrip("0123456789")
    if kind.format in PROPERTY_STRINGS:
        return property_strings(kind.format)
    if family in PLAIN:
        return st.sampled_from(PLAIN[family])
    return st.sampled_from(("0", "1", "2048"))


# Those that rules read; of numbered ones a few.
READ = [
    name
    for name in OPTIONS
    if (
        OPTIONS[name].format in PROPERTY_STRINGS
        or name.rstrip("0123456789") in PLAIN
        or name in ("balloon", "memory", "onboot", "template")
    )
    and (not (number := name[len(name.rstrip("0123456789")) :]) or number in ("0", "1", "2", "9"))
    and not name.startswith(("numa", "ipconfig", "unused", "ci"))
]
LINES = {name: option(name).map(f"{name}: {{}}\n".format) for name in READ}
USUAL = (
    "bios",
    "boot",
    "cpu",
    "efidisk0",
    "hostpci0",
    "ide2",
    "machine",
    "net0",
    "onboot",
    "ostype",
    "rng0",
    "scsi0",
    "tpmstate0",
    "usb0",
    "vga",
)


@st.composite
def sections(draw: st.DrawFn) -> str:
    usual = draw(st.lists(st.sampled_from(USUAL), unique=True))
    others = draw(st.lists(st.sampled_from([name for name in READ if name not in USUAL]), max_size=6, unique=True))
    return "".join(draw(LINES[name]) for name in (*usual, *others))


@st.composite
def configs(draw: st.DrawFn) -> str:
    text = draw(sections())
    if draw(st.booleans()):
        text += f"\n[PENDING]\ndelete: {draw(st.sampled_from(READ))},{draw(st.sampled_from(READ))}\n{draw(sections())}"
    if draw(st.booleans()):
        text += f"\n[before]\n{draw(sections())}vmstate: local-lvm:vm-100-state-before\nsnaptime: 1\n"
    if draw(st.integers(0, 9)) == 0:
        text += draw(st.text(max_size=30))
    return text


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Host, Node]]:
    """The same node wholly known, broken, bare, and seen from another one."""
    found = []
    bare: dict[str, Content] = {"etc/pve/nodes/pve1/": None}
    for number, files in enumerate((WHOLE, BROKEN, bare, CLUSTER)):
        host = Host(
            str(make_fake_tree(tmp_path_factory.mktemp("node") / str(number), {path.rstrip("/"): text for path, text in files.items()}))
        )
        found.append((host, hardware.gather(host, "pve1") if number < 3 else hardware.OtherNode(host, "pve1")))
    return found


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(configs())
@example("")
@example("\0\n[PENDING]\n[PENDING]\n[")
def test_any_config(nodes: list[tuple[Host, Node]], config: str) -> None:
    look_everywhere(nodes, config.encode("utf-8", "surrogatepass"))


# Python refuses to convert so many digits (ValueError).
_DIGITS = "9" * 5000


@pytest.mark.parametrize(
    "line",
    [
        "memory: N",
        "memory: current=N",
        "balloon: N",
        "cores: N",
        "vcpus: N",
        "cpu: host,phys-bits=N",
        "ivshmem: size=N",
        "machine: pc-q35-N.N",
        "meta: creation-qemu=N.1,ctime=N",
        "ostype: winN",
        "hugepages: N",
        "usbN: host=1050:0407",
        "hostpciN: 01:00",
        "affinity: 0-N",
        "args: -device VGA,addr=0xN.N",
        "net0: virtio,queues=N,bridge=vmbr0",
        "efidisk0: local-lvm:vm-100-disk-0,size=N",
        "rng0: source=/dev/urandom,max_bytes=N,period=N",
        "vga: std,memory=N",
    ],
)
def test_a_number_of_thousands_of_digits(nodes: list[tuple[Host, Node]], line: str) -> None:
    text = line.replace("N", _DIGITS)
    config = f"bios: ovmf\nhostpci0: 0000:01:00.0\n{text}\n[before]\n{text}\nsnaptime: {_DIGITS}\nvmstate: local-lvm:vm-100-state-before\n"
    for host, node in nodes:
        guest = guests.parse_guest(host, "pve1", 100, config.encode(), guests.gather_context(host, "pve1", None))
        assert all(finding.message for finding in catalogue.findings(guest, node))


@pytest.mark.shared_data
def test_the_configs_of_pves_own_tests(nodes: list[tuple[Host, Node]]) -> None:
    for path in sorted((SHARED_DATA / "vmconfigs").glob("*.conf")):
        look_everywhere(nodes, path.read_bytes())


def look_everywhere(nodes: list[tuple[Host, Node]], config: bytes) -> None:
    for host, node in nodes:
        guest = guests.parse_guest(host, "pve1", 100, config, guests.gather_context(host, "pve1", None))
        found = catalogue.findings(guest, node)
        assert found == findings_of(rules_about(guest), guest, node)
        for finding in found:
            texts_of_findings.assert_whole(finding)
            texts_of_findings.assert_typable(finding.remedy)
            texts_of_findings.assert_about(finding.remedy, guest)


@pytest.mark.parametrize("rule", catalogue.RULES.values(), ids=lambda rule: rule.id)
def test_what_a_rule_has_one_type_exists(rule: Rule) -> None:
    for command in texts_of_findings.commands(rule.remedy):
        assert texts_of_findings.verb(command) in texts_of_findings.QM
        for option, _ in texts_of_findings.settings_of(command):
            assert option in ("delete", "revert", "OPTION") or option in OPTIONS or option.removesuffix("N") + "0" in OPTIONS
