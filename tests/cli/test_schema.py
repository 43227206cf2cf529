"""All JSON that the command line prints has one envelope, and is as doc/schema.json says."""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections import defaultdict
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from pvehooks.cli import devices, parsers
from pvehooks.cli.commands import notify
from pvehooks.cli.view import View
from pvehooks.host import Host
from pvehooks.journal import outbox
from pvehooks.notify.channels import HandOver
from pvehooks.notify.pending import ANSWERS
from pvehooks.settings.load import built_in
from scripts.docs import schema
from tests.beds import boot, commandline, printed
from tests.beds.tasks import TaskLog
from tests.beds.tree import make_fake_tree
from tests.cli.commands.test_firmware import QEMU
from tests.cli.commands.test_mapping import FILE, MAPPINGS
from tests.cluster.test_commands import TREE, publish
from tests.lint.source import PACKAGE, tree

CONFIGS = "etc/pve/nodes/pve1/qemu-server"
IMAGE = ["firmware", "import", "/root/app.fd", "--storage", "local"]
VOLID = "local:efi-firmware/app.fd"
# By the document: what prints it at last, after what makes something that it shows. Other tests of each verb validate what they print, too.
RUNS: dict[str, list[list[str]]] = {
    "pvehooks check": [["check"]],
    "pvehooks check --format jsonl": [["check", "--format", "jsonl"]],
    "pvehooks check --target NODE": [["check", "--target", "pve2"]],
    "pvehooks status": [["status"]],
    "pvehooks status --cluster": [["status", "--cluster"]],
    "pvehooks why VMID": [["why", "101"]],
    "pvehooks why": [["why"]],
    "pvehooks host check": [["host", "check"]],
    "pvehooks host check --next-boot": [["host", "check", "--next-boot"]],
    "pvehooks host groups": [["host", "groups", "--guest", "100"]],
    "pvehooks host fix": [["host", "fix", "--plan"]],
    "pvehooks host undo": [["host", "undo"]],
    "pvehooks report": [["report"]],
    "pvehooks report --cluster": [["report", "--cluster"]],
    "pvehooks report --from DIR": [["capture", "CAPTURE"], ["report", "--from", "DIRECTORY"]],
    "pvehooks devices": [["devices"]],
    "pvehooks bind": [["bind", "01:00", "--persist"]],
    "pvehooks unbind": [["bind", "01:00", "--persist"], ["unbind", "01:00", "--persist"]],
    "pvehooks bind --list": [["bind", "01:00", "--persist"], ["bind", "--list"]],
    "pvehooks inject": [["inject", "104"]],
    "pvehooks undo": [["inject", "104"], ["undo", "104"]],
    "pvehooks attach": [["attach", "101"]],
    "pvehooks detach": [["detach", "100"]],
    "pvehooks mapping adopt": [["mapping", "adopt", "101", "--dry-run"]],
    "pvehooks allow": [["allow", "101", "--once", "--reason", "why not"]],
    "pvehooks trust": [["trust", "101"]],
    "pvehooks follow": [["follow", "--all", "--dry-run"]],
    "pvehooks mapping check": [["mapping", "check"]],
    "pvehooks mapping add": [["mapping", "add", "new", "01:00"]],
    "pvehooks mapping export": [["mapping", "export"]],
    "pvehooks firmware list": [IMAGE, ["firmware", "list"]],
    "pvehooks firmware info": [["firmware", "info", "/root/app.fd"]],
    "pvehooks firmware import": [IMAGE],
    "pvehooks firmware verify": [IMAGE, ["firmware", "verify"]],
    "pvehooks firmware set": [IMAGE, ["firmware", "set", "104", VOLID, "--on-all-nodes"]],
    "pvehooks firmware unset": [IMAGE, ["firmware", "set", "104", VOLID, "--on-all-nodes"], ["firmware", "unset", "104"]],
    "pvehooks firmware remove": [IMAGE, ["firmware", "remove", VOLID]],
    "pvehooks backups VMID": [["inject", "104"], ["backups", "104"]],
    "pvehooks backups VMID --diff": [["inject", "104"], ["backups", "104", "--diff"]],
    "pvehooks capture FILE": [["capture", "CAPTURE"]],
    "pvehooks capture FILE --list": [["capture", "CAPTURE"], ["capture", "CAPTURE", "--list"]],
    "pvehooks config": [["config"]],
    "pvehooks notify": [["notify"]],
    "pvehooks rules": [["rules"]],
    "pvehooks explain RULE": [["explain", "rng-unlimited"]],
    "pvehooks guest VMID|FILE": [["guest", "101"]],
}
# What no tree can do; the first two are printed below, the last one in tests/actions/test_firmware_qm.py.
ON_A_NODE = {"pvehooks lend", "pvehooks notify --test", "pvehooks firmware migrate"}
EDGES = {
    "etc/pvehooks/pvehooks.conf": "[guest 101]\nignore = rng-missing-netboot: known\n[rules]\nrng-unlimited = info\n[device 01:00]\nafter_stop = return\n",
    f"{CONFIGS}/104.conf": "name: own\nbios: ovmf\nmachine: q35\nefidisk0: local:104/vm-104-disk-0.qcow2,efitype=4m,size=528K\n",
    FILE: MAPPINGS,
    "var/lib/vz/snippets/": None,
    "var/lib/dpkg/status": QEMU,
}


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node of a cluster, with devices, mappings, a firmware image and a start that failed."""
    root = make_fake_tree(tmp_path / "tree", boot.plant("") | TREE | EDGES)
    publish(root, "pve2", hookscripts={"local:snippets/pvehooks-guard": ""})
    make_fake_tree(root, {"root/app.fd": Path("/usr/share/OVMF/OVMF_CODE_4M.fd").read_bytes()})
    TaskLog(root).failed(101, "bridge 'vmbr9' does not exist\nTASK ERROR: start failed: QEMU exited with code 1\n")
    return root


def test_each_document_is_printed_here() -> None:
    assert RUNS.keys() | ON_A_NODE == set(schema.documents())


@pytest.mark.parametrize("headline", RUNS)
def test_a_document(headline: str, node: Path, tmp_path: Path) -> None:
    """As its schema says, with neither a key too many nor one too few."""
    places = {"CAPTURE": str(tmp_path / "pve1.tar.xz"), "DIRECTORY": str(tmp_path)}
    *before, last = ([places.get(word, word) for word in line] for line in RUNS[headline])
    for line in before:
        commandline.pvehooks(*line, "--root", str(node))
    form = [] if "--format" in last else ["--json"]
    ended = commandline.pvehooks(*last, *form, "--root", str(node))
    document = json.loads(ended.output.splitlines()[0] if not form else ended.output)
    assert printed.errors_of(document, schema.name_of(headline)) == []


def test_what_lend_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tree's devices can be lent to nobody."""
    report = devices.DeviceReport("0000:01:00.0", "0000:01:00.0 (card)", "refused", "stays where it is", "", False, ("a note",))
    assert devices.finish(argparse.Namespace(json=True), Host(str(tmp_path)), "pve1", [report]) == 1
    assert printed.errors_of(json.loads(capsys.readouterr().out), "lend") == []


class Answering(Host):
    """A tree in which a test message is handed over while its sender waits."""

    def sleep(self, seconds: float) -> None:
        """Hands it over instead."""
        (name,) = outbox.waiting(self)
        self.make_dir(ANSWERS)
        self.replace(f"{ANSWERS}/{name}", json.dumps({"sendmail": HandOver(True, "root has it")._asdict()}).encode())


def test_what_a_test_message_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = Answering(str(make_fake_tree(tmp_path / "tree", {outbox.DIRECTORY[1:]: None})))
    assert notify._test(View(host, "pve1", built_in()), True) == 0
    assert printed.errors_of(json.loads(capsys.readouterr().out), "notify-test") == []


# -- the schema -------------------------------------------------------------------------------------------------------


def test_every_command_has_a_document() -> None:
    """A new verb needs one in scripts/docs/schema.txt."""
    assert {printed.command_of(headline.split()[1:]) for headline in schema.documents()} == set(parsers.commands())


@pytest.mark.parametrize("strict", [False, True])
def test_it_is_a_schema(strict: bool) -> None:
    Draft202012Validator.check_schema(schema.schema(strict))


def test_the_whole_takes_any_document(node: Path) -> None:
    validator = Draft202012Validator(json.loads(schema.make()))
    document = json.loads(commandline.pvehooks("check", "--json", "--root", str(node)).output)
    assert list(validator.iter_errors(document)) == []
    assert (
        list(validator.iter_errors([document])) and list(validator.iter_errors(document | {"time": 1})) and list(validator.iter_errors({}))
    )


def test_a_name_is_of_one_type() -> None:
    """A number here is no list there; a deprecated key may be."""
    kinds = defaultdict(set)
    for keys in schema.table().values():
        for key in keys:
            if not key.deprecated and key.type != "any":
                base = key.type.rstrip("?")
                kind = "array" if base.endswith("[]") else base if base in schema.PRIMITIVES else "object"
                kinds[key.name].add(kind)
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}


def test_names_are_written_alike() -> None:
    named = {key.name for keys in schema.table().values() for key in keys if not key.deprecated}
    assert {name for name in named if not re.fullmatch(r"[a-z][a-z0-9_]*", name)} == set()


def test_what_replaces_a_deprecated_key_is_beside_it() -> None:
    for headline, keys in schema.table().items():
        names = {key.name for key in keys if not key.deprecated}
        assert {key.text for key in keys if key.deprecated} <= names, headline


def test_one_module_prints_json() -> None:
    """The command line's; what is kept for later, or is YAML or HCL, is none."""
    allowed = {"envelope.py": 2, "report.py": 1, "export.py": 3}
    found = {
        path.name: count
        for path in (PACKAGE / "cli").rglob("*.py")
        if (
            count := sum(
                isinstance(each, ast.Call) and ast.unparse(each.func) in ("json.dumps", "json.dump") for each in ast.walk(tree(path))
            )
        )
    }
    assert found == allowed
