"""Figures for Prometheus: written by the service out of its sandbox, read by Debian's own node_exporter and promtool, gone with the package."""

from __future__ import annotations

from pathlib import Path

from pvehooks.daemon.publish import textfile
from pvehooks.daemon.publish.prometheus import text
from pvehooks.daemon.stats import CountedFinding, GuestStats, Stats
from pvehooks.guard import counters
from pvehooks.values import Severity
from tests.daemon.bed import uefi
from tests.node.machine import Machine, wait_until
from tests.node.trees import PROJECT, make_tree, run_in

FILE = f"{textfile.DIRECTORY}/{textfile.NAME}"
RULES = "/srv/pvehooks/doc/examples/prometheus/pvehooks.rules.yml"
SCRAPE = f"""
promtool check rules {RULES}
promtool test rules /srv/pvehooks/tests/daemon/publish/rules.test.yml
promtool check metrics </given/{textfile.NAME}
cp /given/{textfile.NAME} {textfile.DIRECTORY}
prometheus-node-exporter --web.listen-address=127.0.0.1:9100 2>/tmp/said &
for _ in $(seq 1000); do wget -q -O /tmp/scraped http://127.0.0.1:9100/metrics && break || sleep 0.1; done
kill $!
grep -E '^(pvehooks|node_textfile)' /tmp/scraped
"""
LATER = f"""
mkdir -p /srv/later/DEBIAN /srv/later/usr/bin /srv/later{textfile.DIRECTORY}
printf 'Package: prometheus-node-exporter\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@example.org>\\nDescription: x\\n' >/srv/later/DEBIAN/control
touch /srv/later/usr/bin/prometheus-node-exporter
dpkg-deb --build /srv/later /srv/later.deb
dpkg --install /srv/later.deb
"""


def test_debians_prometheus_takes_it(suite: str, tmp_path: Path) -> None:
    stats = Stats()
    stats.began = stats.watched = 1_700_000_000
    blocked = CountedFinding("hostpci-device-missing", Severity.BLOCK, ignored=False, examined=True)
    stats.guests = {100: GuestStats('VM 100 ("\\ \udc80 \N{SNOWMAN})', False, True, True, False, (blocked,))}
    content = text(textfile.metrics("pve1", stats, dict.fromkeys(counters.OUTCOMES, 0), 60))
    (tmp_path / textfile.NAME).write_bytes(content)
    tree = make_tree(suite, "prometheus", ["prometheus", "prometheus-node-exporter", "wget"])
    done = run_in(tree, SCRAPE, [f"--bind-ro={tmp_path}:/given"])
    assert done.returncode == 0, done.stdout + done.stderr
    alerts = (PROJECT / "doc/examples/prometheus/pvehooks.rules.yml").read_text().count("- alert:")
    assert alerts and f"SUCCESS: {alerts} rules found" in done.stdout
    scraped = done.stdout.splitlines()
    assert "node_textfile_scrape_error 0" in scraped
    names = {line.split("{")[0].split()[0] for line in content.decode().splitlines() if not line.startswith("#")}
    assert names == {line.split("{")[0].split()[0] for line in scraped if line.startswith("pvehooks")}
    assert 'pvehooks_guest_blocked{guest="VM 100 (\\"\\\\ \\\\x80 \N{SNOWMAN})",rule="hostpci-device-missing",vmid="100"} 1' in scraped


def test_node_exporter_is_installed_later(node: Machine) -> None:
    """A package of its name and with its files: dpkg notices them, and the service starts anew, once."""
    pid = node.wait_active()
    node.sh(LATER)
    wait_until(lambda: "pvehooks_pmxcfs_up 1" in node.sh(f"cat {FILE}", check=False), "the file", node.state)
    again = node.wait_active()
    assert again != pid
    node.sh("dpkg --install /srv/later.deb")
    assert node.wait_active() == again, "an upgrade of it does not matter"


def test_the_service_writes_it_and_purge_takes_it_away(node: Machine) -> None:
    pid = node.wait_active()
    node.sh(f"mkdir -p {textfile.DIRECTORY}")
    # It came after the service, whose sandbox does not know it yet.
    node.write(100, uefi())
    command = "journalctl -t pvehooksd PVEHOOKS_EVENT=not-published -o cat"
    wait_until(lambda: "systemctl restart pvehooks" in node.sh(command), "what to do", node.state)
    node.sh("systemctl restart pvehooks")
    assert node.wait_active() != pid
    wait_until(lambda: "pvehooks_pmxcfs_up 1" in node.sh(f"cat {FILE}", check=False), "the file", node.state)
    assert node.sh(f"stat -c '%a %U' {FILE}").split() == ["644", "root"]
    node.sh("systemctl stop pvehooks")
    assert node.run("test", "-e", FILE).status == 0, "its old time tells that nobody looks"
    node.sh("systemctl start pvehooks")
    node.sh("dpkg --remove pvehooks")
    assert node.sh(f"ls {textfile.DIRECTORY}") == ""
