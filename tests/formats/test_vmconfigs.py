"""Proxmox's own configs beside what Proxmox VE's own parser reads from them (../shared/data/vmconfigs)."""

import json
from pathlib import Path
from typing import Any

import pytest

from pvehooks.formats import guestconfig, propertystring

DATA = Path(__file__).parents[3] / "shared" / "data" / "vmconfigs"
SECTIONS: tuple[guestconfig.EditableSection, ...] = ("", "PENDING")
CONFIGS = sorted(DATA.glob("*.conf"))

pytestmark = pytest.mark.shared_data


def expected(path: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return answer


@pytest.fixture(params=CONFIGS, ids=[path.stem for path in CONFIGS])
def config(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_sections_and_digest(config: Path) -> None:
    read = guestconfig.parse(config.read_bytes())
    pve = expected(config)
    assert read.main == pve["main"]
    assert read.pending == pve["pending"]
    assert read.snapshots == pve["snapshots"]
    assert read.special_sections == pve["special-sections"]
    assert read.digest == pve["digest"]


def test_property_strings(config: Path) -> None:
    pve = expected(config)
    sections = {"main": pve["main"], "pending": pve["pending"]}
    sections |= {f"snapshot:{name}": values for name, values in pve["snapshots"].items()}
    for section, options in pve["props"].items():
        for option, parts in options.items():
            assert propertystring.parse(option, sections[section][option]) == parts["value"], (section, option)


def test_what_pve_warns_about_is_dropped(config: Path) -> None:
    assert bool(guestconfig.parse(config.read_bytes()).dropped) == bool(expected(config)["warnings"])


def test_an_rng_goes_in_and_out_again(config: Path) -> None:
    raw = config.read_bytes()
    for section in SECTIONS:
        edited = guestconfig.insert_line(raw, "rng0", "source=/dev/urandom", section)
        assert guestconfig.remove_line(edited, "rng0", section) == raw


def test_there_are_configs() -> None:
    assert len(CONFIGS) > 100
