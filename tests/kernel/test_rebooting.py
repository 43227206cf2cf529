"""What is noted for boot holds over reboots for the noted device and no other one; boot files that were edited show until they are in force."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kernel.conftest import AtBoot
from tests.kernel.machine import Outcome

BOOTS = (0, 1, 2)
NOTED = ("named", "usb", "moved", "vf0", "card-vf0")
OF_THE_HOST = {
    "root": "nvme",
    "card": "igb",
    "card-vf1": "igbvf",
    "one": "nvme",
    "other": "nvme",
    "pf": "nvme",
    "twin-of-usb": "xhci_hcd",
    "twin": "e1000e",
}
VFIO, UNSET = "vfio-pci", "(null)"


def states(outcome: Outcome, when: str = "states") -> dict[str, dict[str, str]]:
    """The devices when guests would be started, by name; or when udev, too, had done its work (`settled`)."""
    (entry,) = outcome.all(when)
    found: dict[str, dict[str, str]] = entry["states"]
    return found


def drivers(devices: dict[str, dict[str, str]]) -> dict[str, str]:
    """The driver of each device."""
    return {name: device["driver"] for name, device in devices.items()}


def logged(outcome: Outcome, address: str, what: str = "journal") -> list[tuple[str, str]]:
    """What the journal has of a device, each with its kind of event."""
    (found,) = outcome.all(what)
    return [(entry["event"], entry["message"]) for entry in found["entries"] if entry["device"] == address]


def check(outcome: Outcome, when: str) -> dict[str, list[dict[str, Any]]]:
    """What `pvehooks host check` said at some point, by what was checked."""
    (found,) = [each for each in outcome.all("host-check") if each.get("when", "") == when]
    assert not found["stderr"], found["stderr"]
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in found["checks"]:
        lines.setdefault(line["check"], []).append(line)
    return lines


def findings(lines: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """What of it is a finding, by rule."""
    return {line["rule"]: line for each in lines.values() for line in each if line["rule"]}


def shown(value: object) -> str:
    return json.dumps(value, indent=1)


# -- devices that are noted -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", BOOTS)
def test_machine_did_its_job(number: int, at_boot: AtBoot) -> None:
    assert at_boot(number).trouble() == ""


def test_noted_devices_stay_until_the_next_boot(at_boot: AtBoot) -> None:
    now = states(at_boot(0))
    assert VFIO not in drivers(now).values() and {*NOTED, "vf1", "card"} - {"card-vf0"} <= set(now), shown(now)


def test_noted_devices_are_bound_before_guests_start(at_boot: AtBoot) -> None:
    now, settled = states(at_boot(1)), states(at_boot(1), "settled")
    for found in (drivers(now), drivers(settled)):
        assert {name: driver for name, driver in found.items() if driver == VFIO} == dict.fromkeys(NOTED, VFIO), shown(now)
        assert "vf1" in found, "the other virtual function is there, and nobody's"
    assert {name: driver for name, driver in drivers(settled).items() if name not in (*NOTED, "vf1")} == OF_THE_HOST, shown(settled)


def test_nothing_is_left_that_would_catch_another_device(at_boot: AtBoot) -> None:
    for number in BOOTS:
        for when in ("states", "settled") if number else ("states",):
            now = states(at_boot(number), when)
            assert {device["override"] for device in now.values()} == {UNSET}, shown(now)
    assert at_boot(1).all("ids") == [{"what": "ids", "known": []}]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("named", "is on vfio-pci now; it was on e1000e", id="its driver was in the initramfs"),
        pytest.param("moved", "is on vfio-pci now; it was on e1000e", id="another of the kind"),
        pytest.param("usb", "is on vfio-pci now", id="before its driver"),
        pytest.param("pf", "has 2 virtual functions now", id="virtual functions"),
        pytest.param("vf0", "is on vfio-pci now", id="a virtual function"),
        pytest.param("card", "has 2 virtual functions now, as noted", id="virtual functions with settings"),
    ],
)
def test_journal_has_each_once(name: str, words: str, at_boot: AtBoot) -> None:
    address = states(at_boot(1))[name]["address"]
    ((event, message),) = logged(at_boot(1), address)
    assert event == "bound-at-boot" and message.startswith(address) and message.endswith(words), message


def test_device_that_comes_back_is_bound_again(at_boot: AtBoot) -> None:
    (rescan,) = at_boot(1).all("rescan")
    before = states(at_boot(1), "settled")
    assert rescan["gone"] and drivers(rescan["states"]) == drivers(before), shown(rescan)
    assert {device["override"] for device in rescan["states"].values()} == {UNSET}, shown(rescan)
    address = before["named"]["address"]
    again = logged(at_boot(1), address, "rescan")
    assert [event for event, _ in again] == ["bound-at-boot"] * 2, again


# -- virtual functions with a MAC, a VLAN and trust ---------------------------------------------------------------------

NOTED_FOR_VFS = [("52:54:00:00:13:00", 7, 3, True, True), ("52:54:00:00:13:01", 0, 0, False, False)]


def card(outcome: Outcome, when: str) -> dict[str, Any]:
    """What was seen of the card at some point."""
    (found,) = [each for each in outcome.all("card") if each["when"] == when]
    return found


def vfs(seen: dict[str, Any]) -> list[tuple[str, int, int, bool, bool]]:
    """MAC, VLAN, priority, trust and the check of its sender's address, of each virtual function."""
    (link,) = seen["shown"]
    found = []
    for each in link["vfinfo_list"]:
        vlan = each["vlan_list"][0] if each.get("vlan_list") else {}
        found.append((each["address"], vlan.get("vlan", 0), vlan.get("qos", 0), each["trust"], each["spoofchk"]))
    return found


@pytest.mark.parametrize(
    ("number", "when"),
    [
        pytest.param(1, "rebooted", id="a reboot"),
        pytest.param(1, "reset", id="a reset of the card"),
        pytest.param(1, "settings again", id="a reset that takes the settings away"),
        pytest.param(1, "functions again", id="a card whose driver was loaded again"),
        pytest.param(2, "rebooted", id="a second reboot"),
    ],
)
def test_virtual_functions_have_what_they_were_given_after(number: int, when: str, at_boot: AtBoot) -> None:
    seen = card(at_boot(number), when)
    assert vfs(seen) == NOTED_FOR_VFS and seen["drivers"] == [VFIO, "igbvf"], shown(seen)
    assert seen.get("start", [0])[0] == 0, shown(seen)


def test_a_driver_of_the_node_gets_the_mac_of_its_function(at_boot: AtBoot) -> None:
    """It asks for it again when the card is reset: the card has it, and not only its driver's memory."""
    assert card(at_boot(1), "reset")["macs"] == [NOTED_FOR_VFS[1][0]]


def test_without_the_start_they_would_not(at_boot: AtBoot) -> None:
    (first, *_) = vfs(card(at_boot(1), "without settings"))
    assert first[:4] == ("00:00:00:00:00:00", 0, 0, False) and card(at_boot(1), "functions again")["gone"], first


# -- devices that are others ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "formerly", "driver", "why"),
    [
        pytest.param("replacement", "named", "virtio-pci", "it is 1af4:1041, and 8086:10d3 was meant", id="another model"),
        pytest.param(
            "twin", "moved", "e1000e", "its serial number is 52-54-00-ff-ff-00-00-1e, and 52-54-00-ff-ff-00-00-1d was", id="a twin"
        ),
        pytest.param("twin-of-usb", "usb", "xhci_hcd", "it sits at pci0000:00/0000:00:1c.0/", id="a twin without a serial number"),
    ],
)
def test_another_device_at_the_address_is_left_alone(name: str, formerly: str, driver: str, why: str, at_boot: AtBoot) -> None:
    device = states(at_boot(2), "settled")[name]
    assert device["address"] == states(at_boot(1))[formerly]["address"], "otherwise this shows nothing"
    assert device["driver"] == driver, shown(device)
    ((event, message),) = logged(at_boot(2), device["address"])
    assert event == "not-bound-at-boot" and why in message, message
    assert f"pvehooks bind {device['address']} --persist" in message and f"pvehooks unbind {device['address']} --persist" in message


def test_the_others_are_where_they_belong(at_boot: AtBoot) -> None:
    found = drivers(states(at_boot(2), "settled"))
    # Another address is another device, for all that can be told.
    assert found["moved"] == "e1000e" and found["vf0"] == VFIO and found["pf"] == "nvme", found
    assert "named" not in found and "usb" not in found


# -- devices that are followed ----------------------------------------------------------------------------------------


def test_guest_and_mapping_name_their_devices_where_they_are_now(at_boot: AtBoot) -> None:
    """A card with a PCIe serial number and two disks of one kind, which have changed places; all of them have another address."""
    before, now = states(at_boot(1)), states(at_boot(2))
    (followed,) = at_boot(2).all("follow")
    address = {name: now[name]["address"] for name in ("moved", "one", "other")}
    assert all(address[name] != before[name]["address"] for name in address), "otherwise this shows nothing"
    config = followed["configs"]["nodes/pve1/qemu-server/300.conf"]
    assert f"hostpci0: {address['moved']},rombar=0\n" in config and f"hostpci1: host={address['one'][5:]}\n" in config, followed
    assert f"path={address['other']}" in followed["configs"]["mapping/pci.cfg"], followed
    assert "(serial number 52-54-00-ff-ff-00-00-1d)" in followed["output"] and "(serial number ONE)" in followed["output"], followed[
        "output"
    ]


def test_guest_whose_device_is_gone_stays_as_it_is(at_boot: AtBoot) -> None:
    """The one of its kind that is left was beside it before."""
    (followed,) = at_boot(2).all("follow")
    (line,) = [each for each in followed["output"].splitlines() if each.startswith("VM 301 (lost)")]
    assert followed["status"] == 1 and "nothing was changed: hostpci0" in line and "sits where another one of its kind was" in line, (
        followed["output"]
    )
    assert f"hostpci0: {states(at_boot(1))['usb']['address']}\n" in followed["configs"]["nodes/pve1/qemu-server/301.conf"]


def test_note_whose_device_is_elsewhere_is_listed(at_boot: AtBoot) -> None:
    before, now = states(at_boot(1))["moved"]["address"], states(at_boot(2))["moved"]["address"]
    (followed,) = at_boot(2).all("follow")
    assert f"pvehooks unbind {before} --persist; pvehooks bind {now} --persist" in followed["output"], followed["output"]


# -- boot files -------------------------------------------------------------------------------------------------------

MISTAKES = {"iommu-inactive", "vfio-not-loaded-at-boot", "advice-void", "initramfs-outdated"}


def host(outcome: Outcome, *words: str) -> dict[str, Any]:
    """What `pvehooks host` said to these words."""
    return next(each for each in outcome.all("host") if each["words"] == list(words))


def files(outcome: Outcome, when: str) -> dict[str, Any]:
    """What was in the files at some point."""
    (found,) = [each for each in outcome.all("files") if each["when"] == when]
    return found


def asked(outcome: Outcome) -> list[tuple[str, str]]:
    """What the journal has of what a person did, with its kind of event."""
    (found,) = outcome.all("by-hand")
    return [(entry["event"], entry["message"]) for entry in found["entries"]]


def test_mistakes_are_found(at_boot: AtBoot) -> None:
    lines = check(at_boot(0), "before")
    found = findings(lines)
    assert set(found) == MISTAKES, shown(lines)
    initramfs, finding = found["initramfs-outdated"], found["iommu-inactive"]
    assert initramfs["subject"] == "/etc/modprobe.d/bed.conf" and "update-initramfs -u -k all" in initramfs["remedy"], shown(initramfs)
    assert finding["message"].endswith("the kernel command line has intel_iommu=off")
    assert finding["remedy"] == "Remove intel_iommu=off from GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then: update-grub && reboot"
    (line,) = lines["kernel command line"]
    assert line["message"].startswith("in effect, from /etc/default/grub"), shown(line)
    assert line["message"].endswith("quiet intel_iommu=off"), shown(line)


def test_iommu_that_is_not_there(plain_machine: Outcome) -> None:
    finding = findings(check(plain_machine, ""))["iommu-inactive"]
    assert "the firmware shows none" in finding["message"] and "firmware setup" in finding["remedy"], shown(finding)


def test_edited_and_not_refreshed(at_boot: AtBoot) -> None:
    lines = check(at_boot(0), "edited")
    found = findings(lines)
    assert set(found) == MISTAKES | {"cmdline-wrong-file", "cmdline-not-refreshed"}, shown(lines)
    wrong, stale = found["cmdline-wrong-file"], found["cmdline-not-refreshed"]
    assert wrong["message"].startswith("intel_iommu=on iommu=pt in /etc/kernel/cmdline has no effect: GRUB boots this node"), shown(wrong)
    assert stale["message"].endswith("/boot/grub/grub.cfg is without consoleblank=0"), shown(stale)
    assert stale["remedy"] == "Type: update-grub && reboot"


def test_one_finding_is_fixed(at_boot: AtBoot) -> None:
    """With a real update-grub; what a person had forgotten to refresh comes into force with it."""
    fixed = host(at_boot(0), "fix", "iommu-inactive", "--apply")
    assert fixed["status"] == 0, fixed["output"]
    assert '+GRUB_CMDLINE_LINUX_DEFAULT="quiet consoleblank=0"\n' in fixed["output"] and "running: update-grub\n" in fixed["output"]
    before, after = files(at_boot(0), "edited")["files"], files(at_boot(0), "first fix")["files"]
    assert {path for path in {*before, *after} if before.get(path) != after.get(path)} == {"/etc/default/grub"}


def test_plan_shows_what_is_done_then(at_boot: AtBoot) -> None:
    """All that is left, with a real update-initramfs; the plan itself changes nothing."""
    planned, fixed = host(at_boot(0), "fix", "--plan"), host(at_boot(0), "fix", "--apply")
    assert planned["status"] == fixed["status"] == 0, planned["output"] + fixed["output"]
    assert planned["output"].partition("then: ")[0] in fixed["output"]
    assert "then: update-initramfs -u -k all\nthen: update-grub\n" in planned["output"]
    assert fixed["output"].index("running: update-initramfs") < fixed["output"].index("running: update-grub")
    assert files(at_boot(0), "plan")["files"] == files(at_boot(0), "first fix")["files"]
    before, after = files(at_boot(0), "first fix")["files"], files(at_boot(0), "second fix")["files"]
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert changed == {"/etc/default/grub", "/etc/modules", "/etc/modules-load.d/pvehooks.conf"}, fixed["output"]
    for arguments in files(at_boot(0), "second fix")["menu"]:
        assert "intel_iommu=off" not in arguments
    assert any("consoleblank=0 intel_iommu=on iommu=pt" in arguments for arguments in files(at_boot(0), "second fix")["menu"])


def test_fixed_and_not_rebooted(at_boot: AtBoot) -> None:
    lines = check(at_boot(0), "fixed")
    found = findings(lines)
    assert set(found) == {"iommu-inactive", "cmdline-not-in-force"}, shown(lines)
    message = found["cmdline-not-in-force"]["message"]
    assert message.endswith("it is without consoleblank=0 intel_iommu=on iommu=pt and still with intel_iommu=off")
    assert found["cmdline-not-in-force"]["remedy"] == "Restart the node: reboot"


def test_rebooted(at_boot: AtBoot) -> None:
    """By GRUB, with what update-grub and update-initramfs wrote: nothing is found any more."""
    lines = check(at_boot(1), "rebooted")
    assert not findings(lines), shown(findings(lines))
    (iommu,), (command_line,) = lines["IOMMU"], lines["kernel command line"]
    assert iommu["verdict"] == "pass" and iommu["message"].startswith("on (Intel, "), shown(iommu)
    assert command_line["message"].endswith("quiet consoleblank=0 intel_iommu=on iommu=pt"), shown(command_line)
    (initramfs,) = at_boot(1).all("initramfs")
    assert any(name.endswith("modprobe.d/bed.conf") for name in initramfs["has"]), "it would not be known before the root file system"


def test_undone(at_boot: AtBoot) -> None:
    """Every byte is as before the second fix, and so is the menu."""
    undone = host(at_boot(1), "undo")
    assert undone["status"] == 0 and "running: update-initramfs -u -k all\nrunning: update-grub\n" in undone["output"], undone["output"]
    assert files(at_boot(1), "undone")["files"] == files(at_boot(0), "first fix")["files"]
    menu = files(at_boot(1), "undone")["menu"]
    assert menu and not any("iommu" in arguments for arguments in menu), shown(menu)


def test_as_before_after_the_next_boot(at_boot: AtBoot) -> None:
    """What the undone fix had fixed is found again, and Debian's kernel has VT-d on by default."""
    lines = check(at_boot(2), "undone")
    found = findings(lines)
    # vfio-pci is loaded for the devices that are noted.
    assert set(found) == {"cmdline-wrong-file", "advice-void", "iommu-translates-host"}, shown(lines)
    (iommu,) = lines["IOMMU"]
    assert iommu["verdict"] == "pass" and iommu["message"].startswith("on (Intel, "), shown(iommu)


def test_all_undone(at_boot: AtBoot) -> None:
    """The first fix as well: as the person had left it."""
    undone = files(at_boot(2), "all undone")
    assert undone["files"] == files(at_boot(0), "edited")["files"]
    assert any("consoleblank=0 intel_iommu=off" in arguments for arguments in undone["menu"]), shown(undone["menu"])
    first, second = [each for each in at_boot(2).all("host") if each["words"] == ["undo"]]
    assert (first["status"], second["status"]) == (0, 0) and "there is no fix to undo" in second["output"], second["output"]


def test_journal_has_what_a_person_did(at_boot: AtBoot) -> None:
    events = [event for event, _ in asked(at_boot(0))]
    assert events == ["binding-changed"] * 6 + ["host-fixed"] * 2
    assert [event for event, _ in asked(at_boot(1))] == ["host-fix-undone"]
    assert "/etc/default/grub" in asked(at_boot(1))[0][1] and "ran update-initramfs -u -k all and update-grub" in asked(at_boot(1))[0][1]


# -- what is said of the next boot ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1])
def test_the_next_boot_is_as_it_was_expected(number: int, at_boot: AtBoot) -> None:
    """GRUB takes that kernel with that command line, and the initramfs that update-initramfs wrote can be used."""
    (expected,), (came,) = at_boot(number).all("next-boot"), at_boot(number + 1).all("present")
    assert not expected["stderr"], expected["stderr"]
    document = expected["document"]
    assert document["next_boot"]["kernel"] == came["kernel"], shown(document)
    assert [f"BOOT_IMAGE=/boot/vmlinuz-{came['kernel']}", *document["next_boot"]["command_line"]] == came["command_line"], shown(document)
    assert document["next_boot"]["command_line_of"] == "/boot/grub/grub.cfg"
    assert [loss for loss in document["losses"] if loss["severity"] == "block"] == [], shown(document["losses"])
    assert came["iommu"]


def test_a_verdict_on_the_next_boot(at_boot: AtBoot) -> None:
    """With an IOMMU that was off so far the groups are not known before; with one that stays on the device is the one that is there."""
    (before,), (then,) = at_boot(0).all("next-boot"), at_boot(1).all("next-boot")
    (first,), guests = before["document"]["guests"], then["document"]["guests"]
    # Beside those that are to be followed at the boot after it.
    (second,) = (guest for guest in guests if guest["vmid"] == 800)
    assert (first["verdict"], before["status"]) == ("cannot tell", 3), shown(first)
    assert "switches the IOMMU on" in first["because"]
    assert second["verdict"] == "will start", shown(second)
    assert (then["status"] == 0) == all(guest["verdict"] == "will start" for guest in guests), shown(guests)
