"""Devices go from the node to a guest and back, on a real kernel: nothing is lost, and whatever is killed, each is with its driver in the end."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from tests.kernel import hardware
from tests.kernel.cases import HANDOVER
from tests.kernel.image import COMMAND_LINE, Images
from tests.kernel.inside.handover import KILLED, TIMES
from tests.kernel.machine import Outcome, Setup, boot

WORDS = f"{COMMAND_LINE} quiet bed.machine={HANDOVER} intel_iommu=on iommu=pt"
HOST, GUEST = ["nvme", "e1000e"], ["vfio-pci", "vfio-pci"]


class Unplugger(threading.Thread):
    """Takes the cards out of the machine that it asks for, by QEMU's monitor."""

    def __init__(self, directory: Path) -> None:
        super().__init__(daemon=True)
        self._directory = directory
        self._over = threading.Event()

    def run(self) -> None:
        asked = ""
        while not self._over.wait(0.5):
            out = self._directory / "out"
            lines = out.read_text(errors="replace").splitlines() if out.exists() else []
            for line in lines:
                if '"what": "unplug"' in line and line.endswith("}") and line != asked:
                    asked = line
                    self._unplug(json.loads(line)["name"])

    def _unplug(self, name: str) -> None:
        with socket.socket(socket.AF_UNIX) as monitor, monitor.makefile("rwb") as stream:
            monitor.connect(str(self._directory / "qmp"))
            for command in ({"execute": "qmp_capabilities"}, {"execute": "device_del", "arguments": {"id": name}}):
                stream.write(json.dumps(command).encode() + b"\n")
                stream.flush()
                # What is not answered yet is dropped when the connection ends.
                while not json.loads(stream.readline()).keys() & {"return", "error"}:
                    pass

    def end(self) -> None:
        self._over.set()
        self.join()


@pytest.fixture(scope="module")
def outcome(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    directory = tmp_path_factory.mktemp(HANDOVER)
    unplugger = Unplugger(directory)
    unplugger.start()
    try:
        found = boot(images, directory, Setup(HANDOVER, True, hardware.HANDOVER, WORDS, monitor=True))
    finally:
        unplugger.end()
    assert not found.trouble(), found.trouble()
    return found


def test_ten_times_to_a_guest_and_back(outcome: Outcome) -> None:
    handovers = outcome.all("round")
    assert len(handovers) == TIMES
    for number, each in enumerate(handovers):
        assert each["start"][0] == 0, each
        assert each["taken"] == GUEST and each["given_back"] == HOST, each
        assert each["read"] == "".join(f"{before}\n" for before in range(number)), "the file system is as the node left it"


def test_what_the_node_uses_is_not_taken(outcome: Outcome) -> None:
    for each in outcome.all("round"):
        assert each["refused"][0] == 1 and "/mnt/lent" in each["refused"][1] and each["while_used"] == HOST, each


def test_nothing_is_taken_from_a_guest_that_runs(outcome: Outcome) -> None:
    for each in outcome.all("round"):
        assert each["early"][:2] == [0, ""] and each["while_running"] == GUEST, each


def test_a_stop_shows_what_it_gave_back(outcome: Outcome) -> None:
    for each in outcome.all("round"):
        status, output, _ = each["end"]
        assert status == 0 and output.count(" again.") == 2 and "is on nvme again." in output and "is on e1000e again." in output, each


def test_killed_at_any_moment_each_is_with_its_driver_in_the_end(outcome: Outcome) -> None:
    found = outcome.all("killed")
    assert len(found) == KILLED and all("the daemon" in moment for each in found for moment in each["moments"]), found
    for each in found:
        assert each["drivers"] == HOST and each["overrides"] == ["(null)", "(null)"] and each["noted"] == [], each


def test_without_post_stop_the_daemon_has_it_done(outcome: Outcome) -> None:
    (found,) = outcome.all("without")
    assert found["drivers"] == HOST and found["requests"] == [] and found["daemon"] == "active", found


def test_a_card_is_looked_for_again_and_its_attributes_are_set_until_the_stop(outcome: Outcome) -> None:
    (found,) = outcome.all("looked-for")
    methods, d3cold, autoprobe = found["before"]
    assert found["start"][0] == 0 and found["is_new"] and "was taken off the bus and found again." in found["start"][1], found
    assert len(methods.split()) > 1 and found["as_set"] == [methods.split()[-1], "0", autoprobe], found
    assert found["taken"] == GUEST and found["after"] == [methods, d3cold, autoprobe] and found["drivers"] == HOST, found


def test_a_card_that_dies_is_reported_at_the_stop(outcome: Outcome) -> None:
    (found,) = outcome.all("died")
    assert found["start"][0] == 0 and found["end"][0] == 0, found
    assert f"{found['address']} [8086:10d3] is not on the bus any more." in found["end"][1], found
    assert [entry["device"] for entry in found["entries"] if entry["event"] == "device-dead"] == [found["address"]], found
