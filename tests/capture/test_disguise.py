"""What is replaced by what."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvehooks.capture.record import Thing
from pvehooks.capture.redact import vocabulary
from pvehooks.capture.redact.addresses import Replacing
from pvehooks.capture.redact.disguise import Disguise
from pvehooks.capture.redact.rewriting import Rewriting

MADE = Replacing(b"key")
V4 = st.ip_addresses(v=4).map(str)
V6 = st.ip_addresses(v=6)


def disguise(*names: str) -> Disguise:
    found = Disguise(b"key")
    for name in names:
        found.learn(name)
    return found


@given(V4, V4, st.integers(8, 32), st.booleans())
def test_ipv4_networks_hold_what_they_held(one: str, other: str, bits: int, near: bool) -> None:
    """Also where a mask ends within the second number; half of the others are in the network, or nearly."""
    if near:
        other = f"{one.split('.')[0]}.{other.split('.', 1)[1]}"
    network = ipaddress.ip_network(f"{one}/{bits}", strict=False)
    new = ipaddress.ip_network(f"{MADE.ipv4(str(network.network_address), bits)}/{bits}")
    assert (ipaddress.ip_address(other) in network) == (ipaddress.ip_address(MADE.ipv4(other)) in new)
    assert disguise().text(str(network), strict=True) == str(new)
    assert MADE.ipv4(one).split(".")[:2] != one.split(".")[:2] or MADE.ipv4(one) == one


@pytest.mark.parametrize("bits", range(8, 33))
def test_ipv4_routes_hold_what_they_held(bits: int) -> None:
    """The kernel's table has numbers of the machine, and the mask apart."""
    network = ipaddress.ip_network(f"10.162.37.201/{bits}", strict=False)
    line = "\t".join(
        ["eno1", _swapped(network.network_address), "00000000", "0001", "0", "0", "0", _swapped(network.netmask), "0", "0", "0"]
    )
    new = Rewriting({}, Disguise(b"key")).content("/proc/net/route", f"Iface\n{line}\n".encode()).decode().splitlines()[1].split("\t")
    number, mask = (int.from_bytes(bytes.fromhex(new[column]), "little") for column in (1, 7))
    assert mask == int(network.netmask)
    assert int(ipaddress.IPv4Address(MADE.ipv4("10.162.37.201"))) & mask == number


def _swapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return address.packed[::-1].hex().upper()


@given(V4, V4)
def test_other_ipv4_addresses_stay_others(one: str, other: str) -> None:
    assert (MADE.ipv4(one) == MADE.ipv4(other)) == (one == other)


@pytest.mark.parametrize("text", ["0.0.0.0", "127.0.0.1", "255.255.255.0", "224.0.0.1", "::1", "::", "ff02::1"])
def test_special_addresses_stay(text: str) -> None:
    assert disguise().text(text, strict=True) == text


@given(V6)
def test_ipv6_addresses_keep_their_form(address: ipaddress.IPv6Address) -> None:
    digits = address.packed.hex()
    groups = [digits[at : at + 4] for at in range(0, 32, 4)]
    new = MADE.ipv6(":".join(groups))
    assert [len(group.lstrip("0")) for group in new.split(":")] == [len(group.lstrip("0")) for group in groups]
    assert MADE.groups(digits) == new.replace(":", "")
    assert ipaddress.IPv6Address(MADE.ipv6(str(address))) == ipaddress.IPv6Address(new)


@given(V6.filter(lambda address: address.ipv4_mapped is None).map(str) | st.integers(0, 0xFFFF).map("::ffff:c000:{:x}".format))
def test_ipv6_addresses_stay_as_short_as_they_are(text: str) -> None:
    assert len(MADE.ipv6(text)) == len(text)
    assert set(MADE.ipv6(text)) <= set("0123456789abcdef:")


@pytest.mark.parametrize(
    "text",
    [
        *("bc:24:11:2c:69:ec", "BC:24:11:2C:69:EC", "00-1b-21-ff-ff-aa-bb-cc", "3f2b8c1e-9d47-4e21-b6a5-0c1d2e3f4a5b", "5000c500a1b2c3d4"),
        *("AbCdEf-1234-Gh5i-J6kL-7890-MnOp-QrStUv", "2001:db8:77:1::10", "0x5000c500a1b2c3d4", "enxbc24112c69ec"),
        *("12345678901234567890", "ata-WDC_WD40EFRX-68N32N0_WD-WCC7K1234567", "iqn.2003-01.org.kunde:sn.42"),
    ],
)
def test_forms(text: str) -> None:
    """Replaced wholly in places where words are, each by one of the same form."""
    new = disguise().text(text, strict=True)
    assert new != text
    assert len(new) == len(text) or ":" in text
    assert all(a.isalnum() == b.isalnum() for a, b in zip(text, new, strict=False)) or "::" in text


def test_same_identifier_in_other_spellings() -> None:
    found = disguise()
    assert found.text("BC:24:11:2C:69:EC") == found.text("bc:24:11:2c:69:ec").upper()
    assert found.text("enxbc24112c69ec") == "enx" + found.text("bc:24:11:2c:69:ec").replace(":", "")
    lvm = "AbCdEf-1234-Gh5i-J6kL-7890-MnOp-QrStUv"
    assert found.text(lvm.replace("-", ""), strict=True) == found.text(lvm).replace("-", "")
    assert found.text(f"LVM-{lvm.replace('-', '') * 2}") == f"LVM-{found.text(lvm).replace('-', '') * 2}"
    uuid = "3f2b8c1e-9d47-4e21-b6a5-0c1d2e3f4a5b"
    assert found.text(uuid.replace("-", ""), strict=True) == found.text(uuid).replace("-", "")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "0000:01:00.0",
            "8086:1533",
            "0x020000",
            "pc-q35-9.2+pve1",
            "6.8.12-4-pve",
            "vm-100-disk-0",
            "local:iso/x",
            "nvme0n1p1",
            "vmbr0.100",
        ),
        *("enp65s0f0np0", "order=scsi0;net0", "32G", "root=ZFS=rpool/ROOT/pve-1", "8be4df61-93ca-11d2-aa0d-00e098032b8c", "8.0 GT/s PCIe"),
        *("pcie_acs_override=downstream,multifunction", "ring0_addr", "1712345678", "l26", "ncd", "259:0"),
    ],
)
def test_what_stays(text: str) -> None:
    assert disguise("local", "rpool", "vmbr0", "100", "root").text(text, strict=True) == text


def test_names_are_replaced_as_a_whole() -> None:
    """A name is one, though its parts are words that may stay; a longer one comes first."""
    found = disguise("backup-server", "backup-server-2", "fast-vg")
    new = found.text("backup-server")
    assert vocabulary.may_stay("backup") and vocabulary.may_stay("server")
    assert "backup" not in new and "server" not in new
    assert not found.text("backup-server-2").startswith(new)
    assert found.text("upper_backup-server /mnt/backup-server/x") == f"upper_{new} /mnt/{new}/x"
    assert found.text("fast--vg-root") == found.text("fast-vg").replace("-", "--") + "-root"


@pytest.mark.parametrize("name", ["OVMF_CODE.fd", "OVMF_VARS.fd", "AAVMF_CODE.fd", "AAVMF_VARS.fd"])
def test_a_name_stays_also_where_the_code_has_it_in_a_tuple_in_a_tuple(name: str) -> None:
    """The compiler folds them together, and rules compare such names."""
    assert name in vocabulary.texts()
    assert all(vocabulary.may_stay(word) for word in vocabulary.WORD.findall(name))


def test_names_that_mean_something_stay() -> None:
    """Otherwise /sys and /proc would be others: a storage that is called like a directory of the kernel's."""
    assert disguise("proc", "pci", "data", "local").text("/proc/x /sys/bus/pci data") == "/proc/x /sys/bus/pci data"


def test_other_words_stay_others() -> None:
    found = disguise()
    words = [f"{a}{b}q" for a in "bcdfghjk" for b in "zvw"]
    assert len({found.text(word, strict=True) for word in words}) == len(words)


def test_words_are_replaced_where_they_were_found() -> None:
    """The kernel's own files are not read word by word; what a config names is replaced in them, too."""
    found = disguise()
    assert found.text("kernelword") == "kernelword"
    assert found.text("kundenwort", strict=True) != "kundenwort"
    assert found.text("/sys/kundenwort") == f"/sys/{found.text('kundenwort', strict=True)}"


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=40))
def test_any_text_can_be_disguised(text: str) -> None:
    found = Disguise(b"key")
    new = found.text(text, strict=True)
    assert found.text(text, strict=True) == new
    assert found.content(text.encode(), strict=True).decode() == new


def test_no_word_takes_forever() -> None:
    for word in ("enp" + "1" * 5000 + "_", "a" * 20000, "1-" * 5000, ":" * 5000, "1." * 5000, "ab:" * 4000):
        disguise("a-b").text(word, strict=True)


USB = "/sys/devices/pci0000:00/0000:00:14.0/usb1"
NVME = "/sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/serial"
RECORD = "/etc/pve/pvehooks/guests/100.json"
CONFIG = "/etc/pve/nodes/pve1/qemu-server/100.conf"


def rewritten(files: dict[str, str]) -> dict[str, str]:
    things = {path: Thing("file", content.encode()) for path, content in files.items()}
    rewriting = Rewriting(things, Disguise(b"key"))
    return {path: rewriting.content(path, content.encode()).decode() for path, content in files.items()}


@pytest.mark.parametrize("serial", ["12", "0042", "1234", "98765"])
def test_short_serial_numbers(serial: str) -> None:
    """Where they are serials; rules compare that of a disk with the one in a record. As a word elsewhere they are any number."""
    record = '{"accepted": {"serial": "%s,S5Y2NX0R123456", "serial": "%s"}, "when": 1234}'
    files = {
        NVME: f"{serial}\n",
        "/sys/devices/pci0000:00/0000:02:00.0/host0/vpd_pg80": f"\0\0\0\4{serial}",
        RECORD: record % (serial, serial),
        CONFIG: f"memory: 1234\nscsi0: local-lvm:vm-100-disk-0,serial={serial},size=32G\nvirtio1: local-lvm:x,serial={serial}\n",
        "/etc/hosts": f"10.1.2.3 pve1 # {serial}\n",
    }
    new = rewritten(files)
    other = new[NVME].strip()
    assert (len(other), other == serial, other.isdecimal()) == (len(serial), False, serial.isdecimal())
    assert new["/sys/devices/pci0000:00/0000:02:00.0/host0/vpd_pg80"] == f"\0\0\0\4{other}"
    assert f'"serial": "{other},' in new[RECORD] and f'"serial": "{other}"' in new[RECORD] and '"when": 1234' in new[RECORD]
    assert new[CONFIG].count(f"serial={other}") == 2 and "memory: 1234" in new[CONFIG]


def test_short_serial_numbers_stay_apart() -> None:
    found = disguise()
    assert len({found.identifier(f"{number:02}\n") for number in range(100)}) == 100
    assert [found.identifier(text) for text in ("0000", "00", "7", "")] == ["0000", "00", "7", ""]


def test_names_that_a_user_gave_a_usb_device() -> None:
    new = rewritten(
        {
            f"{USB}/1-2/product": "Dongle of Kundenfirma\n",
            f"{USB}/1-2/1-2.3/manufacturer": "Bastelwerk\n",
            f"{USB}/1-3/product": "USB Flash Disk\n",
            f"{USB}/product": "xHCI Host Controller\n",
            f"{USB}/manufacturer": "Linux 6.8.12-4-pve xhci-hcd\n",
            "/sys/devices/pci0000:00/0000:01:00.0/net/eno1/ifalias": "to Bastelwerk\n",
        }
    )
    text = "".join(new.values())
    assert not {"Kundenfirma", "Bastelwerk"} & set(text.split())
    assert new[f"{USB}/1-3/product"] == "USB Flash Disk\n"
    assert new[f"{USB}/product"] == "xHCI Host Controller\n"
    assert new[f"{USB}/manufacturer"] == "Linux 6.8.12-4-pve xhci-hcd\n"
