"""Names that change with the driver, the kernel and udev's naming scheme."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts.node import newnames
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.boot import NextBoot
from tests.beds.tree import Content, make_fake_tree

ADDS = "adds the port to the name"
DROPS = "does not add the port to the name"
OTHER_SERIES = "the kernel changes from"


def card(directory: Path, name: str, driver: str, udev: str = "", version: str = "") -> Host:
    """A node with a card that is the port of a bridge."""
    files: dict[str, Content] = {
        f"sys/class/net/{name}/address": "bc:24:11:00:00:01\n",
        f"sys/class/net/{name}/ifindex": "2\n",
        f"sys/class/net/{name}/device/vendor": "0x8086\n",
        "run/udev/data/n2": f"E:ID_NET_DRIVER={driver}\n{udev}",
        "etc/network/interfaces": f"auto vmbr0\niface vmbr0 inet manual\n\tbridge-ports {name}\n",
    }
    if version:
        files["var/lib/dpkg/status"] = f"Package: udev\nStatus: install ok installed\nVersion: {version}\n"
    return Host(str(make_fake_tree(directory, files)))


def changes(host: Host, running: str, release: str, *words: str) -> list[tuple[str, str, bool]]:
    found = newnames.read(host, NextBoot(release, "the newest one", running, "", words, words))
    assert not isinstance(found, Unread)
    return [(each.new, each.why, each.certain) for each in found]


@pytest.mark.parametrize(
    ("name", "driver", "running", "release", "new", "why", "certain"),
    [
        ("enp3s0f0", "i40e", "6.5.13-6-pve", "6.8.12-4-pve", "", ADDS, True),
        ("enp3s0f0np0", "i40e", "6.8.12-4-pve", "6.5.13-6-pve", "enp3s0f0", DROPS, True),
        ("enp3s0f1np1s2", "i40e", "6.8.12-4-pve", "6.5.13-6-pve", "enp3s0f1", DROPS, True),
        ("enp3s0f0", "i40e", "6.8.12-4-pve", "6.5.13-6-pve", "", OTHER_SERIES, False),
        ("enp3s0f0np0", "i40e", "6.8.12-4-pve", "6.14.8-2-pve", "", OTHER_SERIES, False),
        ("enp3s0f0", "ixgbe", "6.14.8-2-pve", "6.16.1-1-pve", "", ADDS, False),
        ("enp3s0f0np0", "ixgbe", "6.16.1-1-pve", "6.17.2-1-pve", "enp3s0f0", DROPS, True),
        ("enp3s0f0", "ixgbe", "6.14.8-2-pve", "6.17.2-1-pve", "", OTHER_SERIES, False),
        ("enp3s0f0", "igb", "6.5.13-6-pve", "6.8.12-4-pve", "", OTHER_SERIES, False),
    ],
)
def test_a_driver_that_shows_the_port(
    name: str, driver: str, running: str, release: str, new: str, why: str, certain: bool, tmp_path: Path
) -> None:
    (found,) = changes(card(tmp_path, name, driver), running, release)
    assert (found[0], why in found[1], found[2]) == (new, True, certain)


@pytest.mark.parametrize(
    ("driver", "running", "release", "alike"),
    [
        ("igb", "6.5.13-6-pve", "6.8.12-4-pve", "igb"),
        ("ice", "6.8.12-4-pve", "6.17.2-1-pve", "ice"),
        ("ice", "6.17.2-1-pve", "7.0.1-1-pve", ""),
        ("i40e", "6.8.12-4-pve", "6.14.8-2-pve", ""),
        ("gve", "6.5.13-6-pve", "6.8.12-4-pve", ""),
        ("igb", "6.8.12-4-pve", "6.8.12-5-pve net.naming-scheme=v255", ""),
    ],
)
def test_a_driver_that_names_cards_alike(driver: str, running: str, release: str, alike: str, tmp_path: Path) -> None:
    release, *words = release.split()
    found = newnames.read(card(tmp_path, "enp3s0", driver), NextBoot(release, "the newest one", running, "", (), tuple(words)))
    assert not isinstance(found, Unread) and [(each.alike, each.certain) for each in found] == [(alike, False)]


@pytest.mark.parametrize(
    ("scheme", "version", "words", "to"),
    [
        ("v252", "257.9-1~deb13u1", (), "v257"),
        ("v252", "254.5-1", (), "v253"),
        ("v252", "252.39-1~deb12u2", (), ""),
        ("v252", "257.9-1~deb13u1", ("net.naming_scheme=v252",), ""),
        ("v252", "257.9-1~deb13u1", ("net.naming-scheme=v255",), "v255"),
        ("v252", "257.9-1~deb13u1", ("net.naming-scheme=latest",), "v257"),
        ("v252", "259.1-1", (), ""),
        ("v258", "258.1-1", (), ""),
        ("v252", "", (), ""),
        ("", "257.9-1~deb13u1", (), ""),
        ("v249", "249.11", (), ""),
    ],
)
def test_an_update_of_udev(scheme: str, version: str, words: tuple[str, ...], to: str, tmp_path: Path) -> None:
    host = card(tmp_path, "enp3s0", "igb", f"E:ID_NET_NAMING_SCHEME={scheme}\n" if scheme else "", version)
    found = changes(host, "6.8.12-4-pve", "6.8.12-5-pve", *words)
    expected = [("", f"no .link file keeps its name, and udev's naming scheme changes from {scheme} to {to}", False)] if to else []
    assert found == expected


@pytest.mark.parametrize(
    ("more", "udev"),
    [
        ({"bonding_slave/perm_hwaddr": "bc:24:11:00:00:02\n"}, ""),
        ({}, "E:ID_NET_NAME_MAC=enxbc2411000002\n"),
    ],
)
def test_the_mac_that_a_card_is_known_by(more: dict[str, str], udev: str, tmp_path: Path) -> None:
    """Both cards of a bond have the address of the bond by now, and each its own at boot."""
    host = card(tmp_path, "enp3s0", "igb", udev)
    for name, text in more.items():
        path = tmp_path / "sys/class/net/enp3s0" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    found = newnames.read(host, NextBoot("6.8.12-4-pve", "the newest one", "6.5.13-6-pve", "", (), ()))
    assert not isinstance(found, Unread) and [each.mac for each in found] == ["bc:24:11:00:00:02"]
