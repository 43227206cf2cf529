"""The package where systemd does not run: a chroot, a container, another init."""

from __future__ import annotations

from pathlib import Path

from tests.node.builds import Builds
from tests.node.trees import run_in

SCRIPT = """
exec 2>&1
mkdir -p /etc/pve/nodes/pve1/qemu-server /var/lib/vz /var/lib/pve-cluster
ln -s nodes/pve1 /etc/pve/local
hostname pve1
echo 'hostpci0: 0000:01:00.0' >/etc/pve/nodes/pve1/qemu-server/100.conf
echo '== install'
apt-get install --yes /packages/{package}
for verb in status 'notify --test'; do
    echo "== $verb"
    pvehooks $verb || echo "ended with $?"
done
echo '== hookscript'
cp /usr/libexec/pvehooks/stub /var/lib/vz/snippets/pvehooks-guard
/var/lib/vz/snippets/pvehooks-guard 100 pre-start || echo "ended with $?"
echo '== purge'
apt-get purge --yes pvehooks
echo '== done'
"""


def test_package_works_and_shows_what_does_not(builds: Builds, node_tree: Path) -> None:
    done = run_in(node_tree, SCRIPT.format(package=builds.deb.name), [f"--bind-ro={builds.deb.parent}:/packages"])
    parts = dict(part.partition("\n")[::2] for part in done.stdout.split("== ")[1:])
    assert done.returncode == 0 and "done" in parts, done.stdout[-4000:] + done.stderr[-2000:]
    words = [line for line in parts["install"].splitlines() if line.startswith("pvehooks: ")]
    assert len(words) == 1 and "systemd does not run here" in words[0], parts["install"]
    assert "daemon not running\n" in parts["status"] and "systemd does not run here" in parts["status"]
    assert parts["notify --test"].startswith("pvehooks: systemd does not run here") and "ended with 3" in parts["notify --test"]
    assert "VM 100 is not started" in parts["hookscript"] and "ended with 1" in parts["hookscript"], parts["hookscript"]
