"""Which guests have RDRAND, and which CPU model gives it to one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.derived.rdrand import has_rdrand, model_with_rdrand
from pvehooks.values import Unread
from tests.derived.bed import guest_on_node

MODELS = "etc/pve/virtual-guest/cpu-models.conf"
MINE = {MODELS: "cpu-model: mine\n\tflags +rdrand;-aes\n\treported-model kvm64\n\ncpu-model: plain\n\treported-model IvyBridge\n\ncpu-model: own\n\tflags +aes\n\ncpu-model: less\n\tflags +rdrand;-rdrand\n\treported-model host\n"}
AMD = "svm rdrand avx2 sha_ni clflushopt fsgsbase rdseed adx smap xsavec"
INTEL = "vmx rdrand avx f16c fsgsbase smep erms x2apic xsaveopt tsc_deadline_timer"
HASWELL = f"{INTEL} avx2 bmi1 bmi2 fma movbe invpcid pcid"


def flags(text: str) -> dict[str, str]:
    return {"proc/cpuinfo": f"processor\t: 0\nflags\t\t: fpu {text}\n"}


@pytest.mark.parametrize(
    ("cpu", "has"),
    [
        ("", False),
        ("cpu: custom-mine\n", True),
        ("cpu: custom-less\n", False),
        ("cpu: custom-plain\n", True),
        ("cpu: custom-own\n", False),
        ("cpu: host\n", True),
        ("arch: aarch64\ncpu: host\n", False),
    ],
)
def test_has_rdrand(cpu: str, has: bool, tmp_path: Path) -> None:
    assert has_rdrand(*guest_on_node(tmp_path, cpu, {**flags("rdrand"), **MINE})) is has


@pytest.mark.parametrize(
    ("cpu", "fact", "value", "why"),
    [
        ("cpu: host\n", "cpu_flags", Unread("no reason at all"), "no reason at all"),
        ("cpu: custom-mine\n", "cpu_models", Unread("no reason at all"), "no reason at all"),
        ("cpu: custom-mine\n", "cpu_models", {}, "the custom CPU model 'custom-mine' is not in /etc/pve/virtual-guest/cpu-models.conf"),
    ],
)
def test_unread(cpu: str, fact: str, value: object, why: str, tmp_path: Path) -> None:
    guest, node = guest_on_node(tmp_path, cpu, MINE)
    node.__dict__[fact] = value
    assert has_rdrand(guest, node) == Unread(why)


@pytest.mark.parametrize(
    ("cpu", "node_flags", "models", "model"),
    [
        ("", "aes", {}, ""),
        ("", "rdrand", {}, "host"),
        ("", AMD, {}, "EPYC"),
        ("", INTEL, {}, "IvyBridge"),
        ("cpu: x86-64-v3\n", INTEL, {}, "host"),
        ("cpu: x86-64-v3\n", HASWELL, {}, "Haswell-noTSX"),
        ("cpu: x86-64-v4\n", AMD, {}, "host"),
        ("", AMD, MINE, "custom-mine"),
        ("cpu: x86-64-v2-AES,flags=+aes\n", AMD, {}, "EPYC,flags=+aes"),
        ("cpu: cputype=kvm64,hidden=1\n", "rdrand", {}, "host,hidden=1"),
    ],
)
def test_model_with_rdrand(cpu: str, node_flags: str, models: dict[str, str], model: str, tmp_path: Path) -> None:
    assert model_with_rdrand(*guest_on_node(tmp_path, cpu, {**flags(node_flags), **models})) == model


def test_no_model_where_nothing_is_known(tmp_path: Path) -> None:
    guest, node = guest_on_node(tmp_path, "", flags(AMD))
    node.__dict__["cpu_models"] = Unread("no reason at all")
    assert model_with_rdrand(guest, node) == "EPYC"
    node.__dict__["cpu_flags"] = Unread("no reason at all")
    assert model_with_rdrand(guest, node) == ""
