"""The drivers within firmware: of Debian's images, of small ones, and of damaged ones."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvehooks.formats import firmwaredrivers
from pvehooks.values.images import FirmwareNetwork
from tests.beds import firmware

NEW = FirmwareNetwork(there=True, needs_entropy=True, cpu=True, device=True, release="2025.02")
DEBIAN = Path("/usr/share/OVMF")


def test_an_image_of_the_system() -> None:
    """Of Debian 12: edk2 2022.11, which needs no entropy; of Debian 13: 2025.02."""
    found = firmwaredrivers.read((DEBIAN / "OVMF_CODE_4M.fd").read_bytes())
    assert found in (NEW, FirmwareNetwork(there=True, needs_entropy=False, cpu=False, device=True))
    assert firmwaredrivers.read((DEBIAN / "OVMF_VARS_4M.fd").read_bytes()) is None


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (firmware.image(), NEW),
        (firmware.image(needs_entropy=False), NEW._replace(needs_entropy=False)),
        (firmware.image(cpu=False), NEW._replace(cpu=False)),
        (firmware.image(device=False), NEW._replace(device=False)),
        (firmware.image(network=False), NEW._replace(there=False, needs_entropy=False)),
        (firmware.image(release="edk2-stable202408-dirty"), NEW._replace(release="2024.08")),
        (firmware.image(release="2025-11"), NEW._replace(release="2025.11")),
        (firmware.image(release="11/08/2025"), NEW._replace(release="")),
        (firmware.image(release="2025.03"), NEW._replace(release="")),
        pytest.param(firmware.driver(firmware.USUAL), FirmwareNetwork(False, False, False, False), id="not compressed"),
        pytest.param(firmware.section(b"\0" * 4096) + firmware.image(), NEW, id="behind another section"),
        pytest.param(firmware.section(firmware.driver(firmware.USUAL, kind=5)), None, id="a file that is no driver"),
        pytest.param(firmware.section(firmware.driver(firmware.USUAL), UUID(int=1)), None, id="another compression"),
        pytest.param(firmware.image()[:200], None, id="cut short"),
        pytest.param(firmwaredrivers._LZMA + bytes(30), None, id="no section before it"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_what_is_found(content: bytes, found: FirmwareNetwork | None) -> None:
    assert firmwaredrivers.read(content) == found


def test_the_network_is_asked_and_not_another_driver() -> None:
    """A driver of something else may wait for random numbers."""
    wait = firmwaredrivers._WAITS_FOR_RNG + b"\x08"
    volume = firmware.driver(firmware.USUAL, wait) + firmware.driver(firmware.MNP) + firmware.driver(firmware.VIRTIO_RNG, wait)
    assert firmwaredrivers.read(firmware.section(volume)) == FirmwareNetwork(True, False, False, True)


def test_what_unpacks_to_more_than_any_firmware_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmwaredrivers, "_MOST", 1 << 16)
    bomb = firmware.section(bytes(1 << 20))
    assert firmwaredrivers.read(bomb + bomb + firmware.image()) is None


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_damage(noise: bytes, at: int) -> None:
    content = firmware.image()
    firmwaredrivers.read(content[:at] + noise + content[at + len(noise) :])
