"""Several daemons in one cluster: what they tell each other, and what becomes of that when one of them, or quorum, is lost."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.cluster.bed import NAMES, Cluster
from tests.daemon.bed import wait_until

Make = Callable[..., Cluster]
QUICK = "[watch]\ninterval = 5\n"
GPU_GUEST = "name: gpu\nmachine: q35\nhostpci0: mapping=gpu,pcie=1\nmemory: 512\nagent: 1\nboot: order=net0\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\n"
MAPPING = "gpu\n" + "".join(
    f"\tmap node={name},path=0000:01:00.0,id=10de:2204,subsystem-id=1043:87d0,iommugroup=14\n" for name in ("pve1", "pve2")
)
FILES = {
    "pvehooks/pvehooks.conf": QUICK,
    "nodes/pve1/qemu-server/100.conf": GPU_GUEST,
    "nodes/pve1/qemu-server/101.conf": "name: disk\nhostpci0: 0000:02:00.0\n",
    "mapping/pci.cfg": MAPPING,
}


def test_one_is_killed_falls_silent_and_returns(cluster: Make) -> None:
    nodes = cluster(files=FILES)
    nodes.start()
    assert nodes["pve2"].states() == dict.fromkeys(NAMES, "ok")
    seen = nodes["pve3"].cluster()["pve1"]["summary"]
    figures = (seen["guest_count"], seen["would_not_start_count"], seen["must_not"], seen["blocked"], seen["device_count"])
    assert figures == (2, 0, [101], [101], 2)

    nodes["pve3"].kill()
    nodes["pve2"].lose(nodes["pve3"])
    assert nodes["pve2"].states() == {"pve1": "ok", "pve2": "ok", "pve3": "offline"}
    nodes["pve3"].pve.start()
    assert nodes["pve2"].states()["pve3"] == "ok", "nobody knows yet that its daemon is gone"
    logged = json.loads(nodes["pve2"].summary("pve3").read_text())
    long_ago = logged["written"] - 3 * 3600
    nodes["pve2"].pve.local_write("nodes/pve3/pvehooks-summary.json", json.dumps({**logged, "written": long_ago}))
    assert nodes["pve1"].states()["pve3"] == "silent"
    assert "pve3 has published nothing for two hours" in nodes["pve1"].run("status", "--cluster")

    nodes["pve3"].start()
    wait_until(lambda: nodes["pve1"].states()["pve3"] == "ok", "pve3 speaks again")


def test_a_node_publishes_nothing_without_quorum_and_all_once_it_is_back(cluster: Make) -> None:
    nodes = cluster(files=FILES)
    nodes["pve3"].pve.set_quorum(False)
    for node in nodes.nodes.values():
        node.start()
    nodes.wait_for_summaries("pve1", "pve2")
    nodes["pve3"].logged("has no quorum")
    # Its own view is that of the moment in which it lost quorum.
    assert not nodes["pve3"].summary("pve1").exists() and not nodes["pve1"].summary("pve3").exists()
    assert nodes["pve1"].states()["pve3"] == "no pvehooks"
    nodes["pve3"].pve.set_quorum(True)
    nodes.wait_for_summaries(*NAMES)
    assert nodes["pve3"].states() == dict.fromkeys(NAMES, "ok")
    assert "summary" not in nodes["pve3"].log.read_text(), "that there is no quorum was said already"


def test_settings_of_the_cluster_reach_all_nodes(cluster: Make) -> None:
    nodes = cluster(files=FILES)
    own = nodes["pve3"].root / "etc/pvehooks/pvehooks.conf"
    own.parent.mkdir()
    own.write_text("[rng]\nmode = off\n")
    nodes.start()
    nodes["pve2"].pve.local_write("pvehooks/pvehooks.conf", f"{QUICK}[rng]\nmode = warn\n[guard]\nmode = audit\n[cluster]\npublish = no\n")
    for name in NAMES:
        nodes[name].logged("settings read: [rng] mode = " + ("off" if name == "pve3" else "warn"))
        settings = json.loads(nodes[name].run("config", "--json"))["settings"]["by_section"]
        assert settings["guard"]["mode"] == {"value": "audit", "origin": "/etc/pve/pvehooks/pvehooks.conf, line 6"}
    # What was published is taken back by each.
    for name in NAMES:
        wait_until(lambda name=name: not nodes["pve1"].summary(name).exists(), f"{name} takes its summary back")
    assert nodes["pve1"].states() == dict.fromkeys(NAMES, "no summary")

    nodes["pve1"].pve.local_write("pvehooks/pvehooks.conf", f"{QUICK}[gard]\nmode = audit\n")
    for name in NAMES:
        nodes[name].logged("/etc/pve/pvehooks/pvehooks.conf, line 3: unknown section [gard]; did you mean [guard]?")


def test_a_guest_on_another_node(cluster: Make) -> None:
    nodes = cluster(files=FILES)
    nodes.start()
    # From whichever node: guests and summaries are seen from all.
    assert "VM 100 (gpu): would start on pve2\n" in nodes["pve3"].run("check", "100", "--target", "pve2")
    there = nodes["pve3"].run("check", "100", "--target", "pve3", status=1)
    assert "on pve3: hostpci0: the PCI mapping 'gpu' is for pve1, pve2, not for pve3" in there
    there = nodes["pve1"].run("check", "101", "--target", "pve2", status=1)
    assert "on pve2: hostpci0 would take 0000:02:00.0 (NVMe disk [144d:a808]) from the host, which holds / (ext4 on nvme0n1p1)" in there
    page = nodes["pve3"].run("report", "--cluster")
    assert "VM 100 (gpu), now on pve1: would start on pve2; would not start on pve3 (mapping-missing: " in page
    assert "- pve1: ok; as of 0 min ago; 2 VMs; 1 must not start; guard: " in page and "rng0: 0 given, 0 without" in page
    nodes["pve1"].lose(nodes["pve2"])
    there = nodes["pve1"].run("check", "100", "--target", "pve2")
    assert "pve2 is offline now, nothing starts there; its summary is from 0 min ago" in there
    assert "VM 100 (gpu): would start on pve2 once that is online\n" in there
