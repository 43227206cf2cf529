"""What makes virtual functions at boot, and what is known of the modules that do."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts.pci.virtual import SupportOnNode
from pvehooks.host import Host
from pvehooks.values.pci import VfSource
from tests.beds import pci
from tests.beds.tree import Content, Link, make_fake_tree

PF = "0000:05:00.0"
TABLE = f"{PF} class=020000 id=8086:1572 driver=i40e net=enp5s0f0np0\n"
WRITE = "echo 4 > /sys/class/net/enp5s0f0np0/device/sriov_numvfs"
UNIT = "etc/systemd/system/vfs.service"
WANTED = {"etc/systemd/system/multi-user.target.wants/vfs.service": Link("/etc/systemd/system/vfs.service")}


def support(directory: Path, files: dict[str, Content]) -> SupportOnNode:
    return SupportOnNode(Host(str(make_fake_tree(directory, {**pci.plant(TABLE), **files}))))


@pytest.mark.parametrize(
    ("files", "source"),
    [
        pytest.param(
            {f"etc/pvehooks/bind.d/{PF}": "id = 8086:1572\nvfs = 4\n"}, VfSource(f"pvehooks (/etc/pvehooks/bind.d/{PF})", PF, 4), id="noted"
        ),
        pytest.param(
            {"etc/sysfs.conf": f"bus/pci/devices/{PF}/sriov_numvfs = 4\n", "etc/init.d/sysfsutils": ""},
            VfSource("/etc/sysfs.conf", PF, 4),
            id="sysfs.conf",
        ),
        pytest.param(
            {
                "etc/sysfs.d/net.conf": "class/net/enp5s0f0np0/device/sriov_numvfs=4\n",
                "etc/sysfs.conf": "# nothing\n",
                "etc/init.d/sysfsutils": "",
            },
            VfSource("/etc/sysfs.d/net.conf", PF, 4),
            id="sysfs.d by the interface",
        ),
        pytest.param(
            {UNIT: f"[Service]\nExecStart=/bin/sh -c '{WRITE}'\n", **WANTED}, VfSource("vfs.service", PF, 4, late=True), id="service"
        ),
        pytest.param(
            {UNIT: f"[Unit]\nBefore=pve-guests.service\n[Service]\nExecStart=/bin/sh -c '{WRITE}'\n", **WANTED},
            VfSource("vfs.service", PF, 4),
            id="service in time",
        ),
        pytest.param(
            {UNIT: f"[Service]\nExecStart=/bin/sh -c '{WRITE}'\n", f"{UNIT}.d/order.conf": "[Unit]\nBefore=pve-guests.service\n", **WANTED},
            VfSource("vfs.service", PF, 4),
            id="service in time by a drop-in",
        ),
        pytest.param(
            {UNIT: "[Service]\nExecStart=-/opt/vfs.sh\n", "opt/vfs.sh": f"#!/bin/sh\n# echo 9 > {PF}/sriov_numvfs\n{WRITE}\n", **WANTED},
            VfSource("vfs.service", PF, 4, late=True),
            id="script of a service",
        ),
        pytest.param(
            {UNIT: f"[Service]\nExecStart=/bin/sh -c '{WRITE}'\n"},
            VfSource("vfs.service", PF, 4, "it is not enabled (systemctl enable vfs.service)", late=True),
            id="service that is not enabled",
        ),
        pytest.param(
            {"etc/systemd/network/10-lan.link": "[Match]\nOriginalName=enp5s0f0np0\n[Link]\nSR-IOVVirtualFunctions=4\n"},
            VfSource("/etc/systemd/network/10-lan.link", PF, 4),
            id="link",
        ),
        pytest.param(
            {"etc/systemd/network/10-lan.link": "[Match]\nMACAddress=00:00:5e:00:53:01\n[Link]\nSR-IOVVirtualFunctions=4\n"},
            VfSource("/etc/systemd/network/10-lan.link", "", 4),
            id="link of another card",
        ),
        pytest.param(
            {
                "etc/udev/rules.d/70-vfs.rules": 'ACTION=="add", SUBSYSTEM=="net", \\\n  NAME=="enp5s0f0np0", ATTR{device/sriov_numvfs}="4"\n'
            },
            VfSource("/etc/udev/rules.d/70-vfs.rules", PF, 4),
            id="udev",
        ),
        pytest.param(
            {"etc/network/interfaces": f"auto enp5s0f0np0\niface enp5s0f0np0 inet manual\n\tpre-up {WRITE}\n"},
            VfSource("/etc/network/interfaces", PF, 4),
            id="ifupdown2",
        ),
        pytest.param({"etc/rc.local": f"#!/bin/sh\n{WRITE}\n"}, VfSource("/etc/rc.local", PF, 4, late=True), id="rc.local"),
        pytest.param(
            {"var/spool/cron/crontabs/root": f"@reboot echo 4 | tee /sys/bus/pci/devices/{PF}/sriov_numvfs\n5 * * * * {WRITE}\n"},
            VfSource("/var/spool/cron/crontabs/root (@reboot)", PF, 4, late=True),
            id="cron",
        ),
        pytest.param(
            {UNIT: f"[Service]\nExecStart=/bin/sh -c '{WRITE}'\n[Install]\nWantedBy=sysinit.target\n", **WANTED},
            VfSource("vfs.service", PF, 4),
            id="service of an early target",
        ),
        pytest.param(
            {
                "usr/local/lib/systemd/system/vfs.service": f"[Service]\nExecStart=/bin/sh -c '{WRITE}'\n",
                "etc/systemd/system/multi-user.target.wants/vfs.service": Link("/usr/local/lib/systemd/system/vfs.service"),
            },
            VfSource("vfs.service", PF, 4, late=True),
            id="service that is enabled in another folder",
        ),
        pytest.param(
            {
                UNIT: f"[Service]\nExecStart=/bin/sh -c '{WRITE}'\n",
                "etc/systemd/system/timers.target.wants/vfs.timer": Link("../vfs.timer"),
            },
            VfSource("vfs.service", PF, 4, late=True),
            id="service of a timer",
        ),
        pytest.param(
            {
                "etc/systemd/system/vfs@.service": "[Service]\nExecStart=/bin/sh -c 'echo 4 > /sys/class/net/%i/device/sriov_numvfs'\n",
                "etc/systemd/system/multi-user.target.wants/vfs@enp5s0f0np0.service": Link("../vfs@.service"),
            },
            VfSource("vfs@enp5s0f0np0.service", PF, 4, late=True),
            id="service of a template",
        ),
        pytest.param(
            {UNIT: "[Service]\nExecStart=/usr/local/sbin/vfs\n", "usr/local/sbin/vfs": "echo 2 > $1/sriov_numvfs\n", **WANTED},
            VfSource("vfs.service", "", 2, late=True),
            id="device filled in",
        ),
        pytest.param(
            {"etc/rc.local": f'echo "$NUMBER" > /sys/bus/pci/devices/{PF}/sriov_numvfs\n'},
            VfSource("/etc/rc.local", PF, 0, late=True),
            id="number filled in",
        ),
        pytest.param(
            {"etc/rc.local": "cd /sys/class/net/enp5s0f0np0/device && echo '4' | sudo tee -a sriov_numvfs\n"},
            VfSource("/etc/rc.local", "", 4, late=True),
            id="in a directory",
        ),
        pytest.param({"etc/rc.local": "echo 4 > /sys/class/net/gone0/device/sriov_numvfs\n"}, None, id="interface that is not there"),
        pytest.param({"etc/rc.local": f"cat /sys/bus/pci/devices/{PF}/sriov_numvfs\n"}, None, id="reads"),
        pytest.param({"etc/crontab": f"5 4 * * * root {WRITE}\n"}, None, id="cron, not at boot"),
        pytest.param(
            {UNIT: "[Service]\nExecStart=/usr/local/sbin/backup\n", "usr/local/sbin/backup": "cat sriov_numvfs > list\n", **WANTED},
            None,
            id="another script",
        ),
        pytest.param({"etc/rc.local": f"echo 0 > /sys/bus/pci/devices/{PF}/sriov_numvfs\n"}, None, id="takes them away"),
        pytest.param({"etc/rc.local": f"# {WRITE}\n", UNIT: "[Service]\nExecStart=/bin/true\n"}, None, id="nothing"),
    ],
)
def test_sources(files: dict[str, Content], source: VfSource | None, tmp_path: Path) -> None:
    assert support(tmp_path, files).sources == (() if source is None else (source,))


def test_settings_of_sysfsutils_without_effect(tmp_path: Path) -> None:
    files: dict[str, Content] = {"etc/sysfs.d/net.conf": f"bus/pci/devices/{PF}/sriov_numvfs = 4\n", "usr/lib/systemd/system": None}
    (found,) = support(tmp_path / "package", files).sources
    assert "not installed" in found.trouble
    (found,) = support(tmp_path / "file", {**files, "usr/lib/systemd/system/sysfsutils.service": ""}).sources
    assert "/etc/sysfs.conf" in found.trouble


def test_modules(tmp_path: Path) -> None:
    """A module that is built for the running kernel is not among the unbuilt ones; dkms keeps links beside the versions."""
    found = support(
        tmp_path,
        {
            "proc/sys/kernel/osrelease": "6.14.11-1-pve\n",
            "var/lib/dkms/i915-sriov-dkms/2025.07/6.8.12-4-pve": None,
            "var/lib/dkms/i915-sriov-dkms/kernel-6.8.12-4-pve-x86_64": Link("2025.07/6.8.12-4-pve/x86_64"),
            "var/lib/dkms/r8125/9.0/6.14.11-1-pve": None,
            "var/lib/dkms/empty": None,
            f"{pci.ROOT}/{PF}/modalias": "pci:v00008086d00001572sv00008086sd00000001bc02sc00i00\n",
            "lib/modules/6.14.11-1-pve/modules.alias": "# Aliases\nalias usb:v1 x\nalias pci:v00008086d00001572sv*sd*bc*sc*i* i40e\n",
        },
    )
    assert found.unbuilt == ("i915-sriov-dkms",)
    assert (found.module(PF), found.module("0000:09:00.0")) == ("i40e", "")
    assert (found.interface(PF), found.interface("0000:09:00.0")) == ("enp5s0f0np0", "")


def test_nothing_is_there(tmp_path: Path) -> None:
    found = SupportOnNode(Host(str(tmp_path)))
    assert (found.sources, found.unbuilt, found.release, found.module(PF)) == ((), (), "", "")


@pytest.mark.parametrize(
    ("unit", "tool", "sources"),
    [
        pytest.param("ALL", True, [(PF, "")], id="all"),
        pytest.param(PF, True, [(PF, "")], id="one"),
        pytest.param(
            "ALL", False, [(PF, "NVIDIA's /usr/lib/nvidia/sriov-manage, which it calls, is not installed")], id="without NVIDIA's own"
        ),
        pytest.param("any", True, [], id="no address"),
    ],
)
def test_unit_for_nvidia(unit: str, tool: bool, sources: list[tuple[str, str]], tmp_path: Path) -> None:
    """Of all cards of NVIDIA's with SR-IOV, and of no other."""
    name = f"pve-nvidia-sriov@{unit}.service"
    files: dict[str, Content] = {
        **pci.plant(f"{PF} class=030200 id=10de:2235\n0000:06:00.0 class=030200 id=10de:1eb8\n0000:07:00.0 id=8086:1572\n"),
        **{f"{pci.ROOT}/{each}/sriov_totalvfs": "32\n" for each in (PF, "0000:07:00.0")},
        f"etc/systemd/system/multi-user.target.wants/{name}": Link("/usr/lib/systemd/system/pve-nvidia-sriov@.service"),
    }
    if tool:
        files["usr/lib/nvidia/sriov-manage"] = "#!/bin/sh\n"
    found = SupportOnNode(Host(str(make_fake_tree(tmp_path, files)))).sources
    assert list(found) == [VfSource(name, address, 0, trouble) for address, trouble in sources]
