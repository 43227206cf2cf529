"""The hooks of the installed package: what apt shows when a kernel, or sources of DKMS, come and go."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.node.conftest import MakeNode
from tests.node.machine import Machine, wait_until

RELEASE = "6.99.0-1-amd64"
MODULES = "".join(f"kernel/drivers/vfio/{name}.ko:\n" for name in ("vfio", "vfio_iommu_type1", "pci/vfio-pci"))
FILES = {
    f"boot/vmlinuz-{RELEASE}": "",
    f"lib/modules/{RELEASE}/modules.dep": MODULES,
    f"lib/modules/{RELEASE}/modules.builtin": "",
}
# As the package of a kernel calls the hooks.
HOOKS = """#!/bin/sh
set -e
[ "$1" {when} ] || exit 0
{before}
run-parts --report --exit-on-error --arg={release} --arg=/boot/vmlinuz-{release} /etc/kernel/{directory}
"""
# In place of initramfs-tools, which the bed does without.
INITRAMFS = "#!/bin/sh\nprintf '# pvehooks: the files of an initramfs\\n== usr/lib/modules/ext4.ko ==\\n' >/boot/initrd.img-$1\n"


def package(directory: Path, name: str, files: dict[str, str], scripts: dict[str, str]) -> Path:
    """A Debian package with these files and maintainer scripts."""
    tree = directory / name
    control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: The tests <tests@example.org>\nDescription: for a test\n"
    for path, text in {**files, "DEBIAN/control": control}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    for script, text in scripts.items():
        (tree / "DEBIAN" / script).write_text(text)
        (tree / "DEBIAN" / script).chmod(0o755)
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(directory)], check=True, capture_output=True)
    return directory / f"{name}_1_all.deb"


def kernel(directory: Path) -> Path:
    scripts = {
        "postinst": HOOKS.format(when="= configure", before="", release=RELEASE, directory="postinst.d"),
        "prerm": HOOKS.format(when="= remove", before="", release=RELEASE, directory="prerm.d"),
    }
    return package(directory, f"linux-image-{RELEASE}", FILES, scripts)


def install(node: Machine, package: Path, check: bool = True) -> list[str]:
    """What pvehooks says in apt's output."""
    (node.root / "root" / package.name).write_bytes(package.read_bytes())
    return shown(node, "install", f"/root/{package.name}", check=check)


def shown(node: Machine, *words: str, check: bool = True) -> list[str]:
    return [line for line in node.apt(*words, check=check).splitlines() if line.startswith("pvehooks: ")]


@pytest.fixture
def node(make_node: MakeNode) -> Machine:
    machine = make_node()
    (machine.root / "etc/kernel/postinst.d").mkdir(parents=True, exist_ok=True)
    hook = machine.root / "etc/kernel/postinst.d/initramfs-tools"
    hook.write_text(INITRAMFS)
    hook.chmod(0o755)
    machine.install()
    machine.wait_active()
    return machine


def test_a_kernel_comes_and_goes(node: Machine, tmp_path: Path) -> None:
    """One line where all is well, although its own hook and dpkg both ask."""
    lines = install(node, kernel(tmp_path))
    assert lines == [
        f"pvehooks: next boot of pve1: kernel {RELEASE} (the newest one); no VM has a passed-through device, and the node loses nothing"
    ]
    (entry,) = node.entries("PVEHOOKS_EVENT=next-boot")
    assert entry["PVEHOOKS_KERNEL"] == RELEASE
    looked, kernel_of_boot, *found = json.loads(node.run("cat", "/run/pvehooks/next-boot.json").out)
    assert looked and kernel_of_boot == RELEASE and found == [0, 0, 0, 0, [], 0, False], "what the daemon publishes for the other nodes"

    node.write(100, "name: game\nmemory: 512\nhostpci0: 0000:ff:1f.7\n")
    lines = install(node, package(tmp_path, "firmware-test", {"usr/lib/firmware/test.bin": "x"}, {}))
    assert lines[0].startswith(f"pvehooks: next boot of pve1: kernel {RELEASE} (the newest one)")
    assert any(line.startswith("pvehooks: VM 100 (game): will not start, because ") for line in lines)
    assert lines[-1] == f"pvehooks: what to do: pvehooks host check --next-boot {RELEASE}"
    assert len(lines) <= 10
    assert "VM 100 (game)" in str(node.entries("PVEHOOKS_EVENT=next-boot-trouble")[0]["MESSAGE"])

    assert install(node, package(tmp_path, "firmware-more", {"usr/lib/firmware/more.bin": "x"}, {})) == [], "nothing has changed"
    lines = shown(node, "remove", f"linux-image-{RELEASE}")
    assert len(lines) == 1 and "/boot has no kernel" in lines[0]


def test_a_hook_that_fails_before_ours(node: Machine, tmp_path: Path) -> None:
    """As that of DKMS does where a module cannot be built: the kernel is left without an initramfs, and its further hooks are not called."""
    hook = node.root / "etc/kernel/postinst.d/dkms"
    hook.write_text("#!/bin/sh\nexit 11\n")
    hook.chmod(0o755)
    lines = install(node, kernel(tmp_path), check=False)
    assert lines[0].startswith(f"pvehooks: next boot of pve1: kernel {RELEASE} (the newest one)")
    assert lines[1].startswith(f"pvehooks: pve1: the node may not boot the kernel {RELEASE}: ") and "it is not there" in lines[1]


def test_a_node_that_hangs_delays_nothing_for_long(node: Machine, tmp_path: Path) -> None:
    """Nor does a program of ours that is broken make the installation fail."""
    node.sh("sed -i 's/^readonly LIMIT=60/readonly LIMIT=2/' /usr/libexec/pvehooks/next-boot")
    node.sh("printf '#!/bin/sh\\nexec sleep 1000\\n' >/usr/sbin/pvehooks")
    assert install(node, kernel(tmp_path)) == 2 * [
        "pvehooks: what the next boot brings was not found out within 2 s. See: pvehooks host check --next-boot"
    ]
    wait_until(lambda: node.run("pgrep", "-f", "sleep 1000", check=False).status == 1, "what hung has ended", node.state)
    node.sh("sed -i 's/^readonly LIMIT=2/readonly LIMIT=60/' /usr/libexec/pvehooks/next-boot")
    node.sh("printf '#!/usr/bin/python3\\nimport no_such_module\\n' >/usr/sbin/pvehooks")
    lines = install(node, package(tmp_path, "firmware-test", {"usr/lib/firmware/test.bin": "x"}, {}))
    assert lines == ["pvehooks: ModuleNotFoundError: No module named 'no_such_module'"]
