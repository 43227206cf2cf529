"""Records of guests: identity, what is kept, broken files, and a pmxcfs that takes nothing."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pathlib
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pvehooks.errors import EXIT_COULD_NOT_LOOK, PmxcfsAway
from pvehooks.facts.cluster import pmxcfs
from pvehooks.host import Host
from pvehooks.records import guests as records
from pvehooks.values import Accepted, Allowance, Attachment, KnownDevice

WEB = records.Identity("0f2a52f5-94c1-4d4b-8d3a-0c9b8d6a1e11", 1700000000)
DONE = records.RngRecord("source=/dev/urandom,max_bytes=1024,period=1000", "done", "a" * 40, 1750000000, "pve1")


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    (tmp_path / "etc/pve/nodes/pve1/qemu-server").mkdir(parents=True)
    return Host(str(tmp_path))


def set_rng0(host: Host, vmid: int, identity: records.Identity, rng0: records.RngRecord | None) -> bool:
    return records.update(host, vmid, identity, lambda record: record.with_rng0(rng0))


def file(host: Host, vmid: int = 100) -> pathlib.Path:
    path = pathlib.Path(host.root + records.path(vmid))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_what_is_written_is_read(host: Host) -> None:
    assert records.read(host, 100, WEB) is None
    record = records.Record(WEB, DONE)
    assert records.write(host, 100, record)
    assert records.read(host, 100, WEB) == record
    assert file(host).stat().st_size < 400
    assert file(host).stat().st_mode & 0o777 == 0o640


def test_the_file_is_versioned_json_in_pmxcfs(host: Host) -> None:
    records.write(host, 100, records.Record(WEB, DONE))
    assert json.loads((pathlib.Path(host.root) / "etc/pve/pvehooks/guests/100.json").read_bytes()) == {
        "version": 1,
        "uuid": WEB.uuid,
        "ctime": WEB.ctime,
        "rng0": {"value": DONE.value, "state": "done", "digest_before": "a" * 40, "when": 1750000000, "node": "pve1"},
    }


def test_nothing_is_written_when_nothing_changes(host: Host) -> None:
    records.write(host, 100, records.Record(WEB, DONE))
    inode = file(host).stat().st_ino
    assert not records.write(host, 100, records.Record(WEB, DONE))
    assert not set_rng0(host, 100, WEB, DONE)
    assert file(host).stat().st_ino == inode
    assert records.write(host, 100, records.Record(WEB, DONE._replace(state="writing")))
    assert os.listdir(file(host).parent) == ["100.json"]


@pytest.mark.parametrize(
    ("uuid", "ctime", "same"),
    [
        pytest.param(WEB.uuid, WEB.ctime, True, id="equal"),
        pytest.param(str(WEB.uuid).upper(), WEB.ctime, True, id="capitals"),
        pytest.param("other", WEB.ctime, False, id="other uuid"),
        pytest.param(WEB.uuid, 1, False, id="other ctime"),
        pytest.param(None, WEB.ctime, True, id="uuid taken out"),
        pytest.param(WEB.uuid, None, True, id="ctime taken out"),
        pytest.param(None, 1, False, id="uuid taken out, other ctime"),
        pytest.param(None, None, False, id="nothing known"),
    ],
)
def test_another_guests_record_is_none(host: Host, uuid: str | None, ctime: int | None, same: bool) -> None:
    other = records.Identity(uuid, ctime)
    for vmid, (of, asked) in {100: (WEB, other), 101: (other, WEB)}.items():
        records.write(host, vmid, records.Record(of, DONE))
        assert (records.read(host, vmid, asked) is not None) is same
    assert records.read(host, 102, WEB) is None


def test_a_guest_of_which_nothing_is_known_has_a_record_too(host: Host) -> None:
    unidentified = records.Identity(None, None)
    set_rng0(host, 100, unidentified, DONE)
    assert records.read(host, 100, unidentified) == records.Record(unidentified, DONE)
    assert records.read(host, 100, WEB) is None


def test_unknown_keys_of_a_newer_version_are_kept(host: Host) -> None:
    rng0 = {**DONE._asdict(), "by": "Jo"}
    del rng0["more"]
    newer: dict[str, object] = {"version": 7, "uuid": WEB.uuid, "ctime": WEB.ctime, "guard": {"x": [1]}, "rng0": rng0}
    file(host).write_text(json.dumps(newer))
    set_rng0(host, 100, WEB, DONE._replace(state="writing"))
    rng0["state"] = "writing"
    assert json.loads(file(host).read_bytes()) == newer
    set_rng0(host, 100, WEB, DONE._replace(value="source=/dev/random"))
    assert "by" not in json.loads(file(host).read_bytes())["rng0"]
    set_rng0(host, 100, WEB, None)
    del newer["rng0"]
    assert json.loads(file(host).read_bytes()) == newer


def test_removing_the_last_thing_removes_the_record(host: Host) -> None:
    assert not set_rng0(host, 100, WEB, None)
    assert set_rng0(host, 100, WEB, DONE)
    assert set_rng0(host, 100, WEB, None)
    assert not file(host).exists()


def test_removing_leaves_another_guests_record_alone(host: Host) -> None:
    set_rng0(host, 100, WEB, DONE)
    assert not set_rng0(host, 100, records.Identity("other", 5), None)
    assert records.read(host, 100, WEB) is not None


def test_another_guest_takes_the_place_of_the_former_one(host: Host) -> None:
    file(host).write_text(json.dumps({"version": 1, "uuid": "old", "ctime": 1, "left": "over"}))
    set_rng0(host, 100, WEB, DONE)
    assert records.read(host, 100, WEB) == records.Record(WEB, DONE)


GOOD = json.dumps({"version": 1, "uuid": WEB.uuid, "ctime": WEB.ctime, "rng0": {**DONE._asdict(), "more": {}}})
FOR_WEB = GOOD[: GOOD.index('{"value"')]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param(GOOD[:60], "is no JSON object", id="half"),
        pytest.param("[]", "is no JSON object", id="list"),
        pytest.param("[" * 5000, "is no JSON object", id="deep"),
        pytest.param("9" * 5000, "is no JSON object", id="digits"),
        pytest.param('"\\ud800', "is no JSON object", id="surrogate"),
        pytest.param("{}", "has no usable 'version'", id="no version"),
        pytest.param('{"version": true}', "has no usable 'version'", id="version true"),
        pytest.param('{"version": -1}', "has no usable 'version'", id="version negative"),
        pytest.param('{"version": 1, "uuid": 5}', "has no usable 'uuid'", id="uuid number"),
        pytest.param('{"version": 1, "uuid": "\\u001b"}', "has no usable 'uuid'", id="uuid control character"),
        pytest.param('{"version": 1, "ctime": "5"}', "has no usable 'ctime'", id="ctime text"),
        pytest.param('{"version": 1, "ctime": NaN}', "has no usable 'ctime'", id="ctime nan"),
        pytest.param(FOR_WEB + "5}", "has an unusable part: rng0 is no JSON object", id="rng0 number"),
        pytest.param(FOR_WEB + "{}}", "has an unusable part: rng0 has no usable 'value'", id="rng0 empty"),
        pytest.param(GOOD.replace("done", "gone"), "has an unusable part: rng0 has an unknown state 'gone'", id="state"),
        pytest.param(GOOD.replace("1750000000", "1" + "0" * 30), "has an unusable part: rng0 has no usable 'when'", id="when too big"),
        pytest.param(GOOD + " " * (1 << 16), "is larger than any record", id="large"),
    ],
)
def test_a_broken_record_counts_as_none_and_shows_so(host: Host, content: str, words: str) -> None:
    file(host).write_text(content)
    record = records.read(host, 100, WEB)
    assert record == records.Record(WEB, broken=f"/etc/pve/pvehooks/guests/100.json {words}")
    set_rng0(host, 100, WEB, DONE)
    assert records.read(host, 100, WEB) == records.Record(WEB, DONE)


def test_removing_from_a_broken_record_removes_it(host: Host) -> None:
    file(host).write_text("{")
    assert set_rng0(host, 100, WEB, None)
    assert not file(host).exists()


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["done", "writing"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["version", "uuid", "ctime", "rng0", "value", "state", "digest_before", "when", "node", "x"]), inner
        ),
    ),
    max_leaves=15,
)


@given(st.one_of(st.binary(), JSON.map(lambda value: json.dumps(value).encode())))
@example(GOOD.encode())
def test_any_bytes_are_a_record_or_none(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    host = Host(str(tmp_path_factory.getbasetemp() / "any"))
    file(host).write_bytes(content)
    record = records.read(host, 100, records.Identity(None, None))
    assert record is None or record.broken or record.version == json.loads(content)["version"]
    set_rng0(host, 100, WEB, DONE)
    assert records.read(host, 100, WEB) is not None


# -- all guests -------------------------------------------------------------------------------------------------------


def test_known_vmids_and_forgetting(host: Host) -> None:
    assert records.known_vmids(host) == frozenset()
    assert not records.forget(host, 100)
    for vmid in (100, 101, 102):
        set_rng0(host, vmid, WEB, DONE)
    for name in ("103.json.tmp.77", ".fuse_hidden0001", "x.json", "099.json", "104.conf"):
        (file(host).parent / name).touch()
    assert records.known_vmids(host) == {100, 101, 102}
    assert records.forget(host, 100)
    assert not records.forget(host, 100)
    assert records.known_vmids(host) == {101, 102}


# -- a pmxcfs that takes nothing --------------------------------------------------------------------------------------


class Failing(Host):
    """A node where every access below /etc/pve of one kind fails."""

    def __init__(self, root: str, number: int, reading: bool) -> None:
        super().__init__(root)
        self.error = OSError(number, os.strerror(number), "/etc/pve")
        self.reading = reading

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        self.refuse(self.reading, path)
        return super().read(path, limit)

    def names(self, path: str) -> list[str]:
        self.refuse(self.reading, path)
        return super().names(path)

    def replace(self, path: str, content: bytes, mode: int = 0o640, durable: bool = False) -> None:
        self.refuse(True, path)
        super().replace(path, content, mode, durable)

    def remove(self, path: str, durable: bool = False) -> None:
        self.refuse(True, path)
        super().remove(path, durable)

    def refuse(self, refused: bool, path: str) -> None:
        if refused and path.startswith("/etc/pve/"):
            raise self.error


@pytest.mark.parametrize(
    ("number", "reading", "words"),
    [
        pytest.param(errno.ENOTCONN, True, "pmxcfs is not running (Transport endpoint is not connected)", id="killed"),
        pytest.param(errno.ECONNABORTED, True, "pmxcfs is not running (Software caused connection abort)", id="stopping"),
        pytest.param(errno.ENOTCONN, False, "pmxcfs is not running (Transport endpoint is not connected)", id="killed meanwhile"),
        pytest.param(errno.EACCES, False, "no quorum, or not root (Permission denied)", id="no quorum"),
        pytest.param(errno.EACCES, True, "cannot be read (Permission denied)", id="not root"),
        pytest.param(errno.ENOSPC, False, "cannot be written (No space left on device)", id="full"),
    ],
)
def test_trouble_of_pmxcfs_is_one_clear_exception(host: Host, number: int, reading: bool, words: str) -> None:
    set_rng0(host, 100, WEB, DONE)
    failing = Failing(host.root, number, reading)
    actions: list[Callable[[], object]] = [
        lambda: records.write(failing, 100, records.Record(WEB)),
        lambda: set_rng0(failing, 100, WEB, None),
        lambda: records.forget(failing, 100),
    ]
    if reading:
        actions += [lambda: records.read(failing, 100, WEB), lambda: records.known_vmids(failing)]
    for action in actions:
        with pytest.raises(PmxcfsAway) as caught:
            action()
        assert words in caught.value.message
        assert "/etc/pve" in caught.value.message
        assert caught.value.exit_status == EXIT_COULD_NOT_LOOK


def test_facts_of_pmxcfs_raise_the_same(host: Host) -> None:
    """.version is not there: pmxcfs does not answer, which a command reports as any trouble of the node."""
    with pytest.raises(PmxcfsAway, match=r"/etc/pve/\.version: No such file") as caught:
        pmxcfs.version(host)
    assert caught.value.exit_status == EXIT_COULD_NOT_LOOK


def test_a_stopped_pmxcfs_is_not_taken_for_no_records_and_nothing_is_written_where_it_will_be_mounted(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "etc/pve").mkdir(parents=True)
    host = Host(str(tmp_path))
    actions: list[Callable[[], object]] = [
        lambda: records.read(host, 100, WEB),
        lambda: records.write(host, 100, records.Record(WEB)),
        lambda: set_rng0(host, 100, WEB, DONE),
        lambda: records.forget(host, 100),
        lambda: records.known_vmids(host),
    ]
    for action in actions:
        with pytest.raises(PmxcfsAway, match="pmxcfs is not running"):
            action()
    assert os.listdir(tmp_path / "etc/pve") == []


# -- locks ------------------------------------------------------------------------------------------------------------


def _count_up(root: str, times: int) -> None:
    host = Host(root)
    for _ in range(times):
        with records.lock(host, 100, 20):
            path = pathlib.Path(root) / "count"
            path.write_text(str(int(path.read_text()) + 1))


def test_the_lock_is_one_for_all_processes(host: Host) -> None:
    (pathlib.Path(host.root) / "count").write_text("0")
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.starmap(_count_up, [(host.root, 50)] * 4)
    assert (pathlib.Path(host.root) / "count").read_text() == "200"
    assert os.listdir(pathlib.Path(host.root) / "run/pvehooks/locks") == ["100.lock"]


def test_a_record_whose_lock_is_held_is_unavailable(host: Host) -> None:
    with records.lock(host, 100, 1):
        with pytest.raises(BlockingIOError), records.lock(host, 100, 0.05):
            pass
        with pytest.raises(PmxcfsAway, match="another process holds the lock of VM 100's record"):
            records.update(host, 100, WEB, lambda record: record.with_rng0(DONE), wait=0.05)
        assert set_rng0(host, 101, WEB, DONE)
    assert set_rng0(host, 100, WEB, DONE)


def test_a_lock_that_cannot_be_made_is_reported(host: Host) -> None:
    (pathlib.Path(host.root) / "run/pvehooks").mkdir(parents=True)
    (pathlib.Path(host.root) / "run/pvehooks/locks").touch()
    with pytest.raises(PmxcfsAway, match=r"/run/pvehooks/locks/100\.lock: "):
        set_rng0(host, 100, WEB, DONE)


# -- what the guard remembers -----------------------------------------------------------------------------------------

ACCEPTED = Accepted(
    {"hostpci0": "0000:01:00,pcie=1"},
    {"0000:01:00.0": KnownDevice(0x10DE, 0x2204, 0x030000, ""), "0000:02:00.0": KnownDevice(-1, -1, -1, "S1")},
    frozenset({"0000:01:00.0", "0000:02:00.0"}),
)
ALLOWANCE = Allowance("the card is broken anyway", "jo", 1750000000)
ATTACHMENT = Attachment("local:snippets/pvehooks-guard", "local:snippets/old.pl", 1750000000)


def test_the_kernel_of_a_start(host: Host) -> None:
    """It is kept where it is known; a record of before has none."""
    assert records.update(host, 100, WEB, lambda record: record.with_accepted("pve1", ACCEPTED))
    assert '"kernel"' not in file(host).read_text()
    with_kernel = ACCEPTED._replace(kernel="6.8.12-4-pve")
    assert records.update(host, 100, WEB, lambda record: record.with_accepted("pve1", with_kernel))
    known = records.read(host, 100, WEB)
    assert known is not None and known.accepted == {"pve1": with_kernel}


def test_each_part_is_kept_when_another_changes(host: Host) -> None:
    assert records.update(host, 100, WEB, lambda record: record.with_accepted("pve1", ACCEPTED))
    assert records.update(host, 100, WEB, lambda record: record._replace(allowance=ALLOWANCE))
    assert records.update(host, 100, WEB, lambda record: record._replace(attachment=ATTACHMENT))
    set_rng0(host, 100, WEB, DONE)
    whole = records.Record(WEB, DONE, accepted={"pve1": ACCEPTED}, allowance=ALLOWANCE, attachment=ATTACHMENT)
    assert records.read(host, 100, WEB) == whole
    assert not records.update(host, 100, WEB, lambda record: record.with_accepted("pve1", ACCEPTED))
    assert records.update(host, 100, WEB, lambda record: record._replace(allowance=None))
    assert records.read(host, 100, WEB) == whole._replace(allowance=None)
    set_rng0(host, 100, WEB, None)
    assert records.update(host, 100, WEB, lambda record: record.with_accepted("pve1", None))
    assert file(host).exists()
    assert records.update(host, 100, WEB, lambda record: record._replace(attachment=None))
    assert not file(host).exists()


def test_what_was_accepted_is_of_one_node(host: Host) -> None:
    """Addresses and groups are each node's own: a guest that moves there and back finds what was accepted here."""
    other = ACCEPTED._replace(members=frozenset({"0000:09:00.0"}))
    records.update(host, 100, WEB, lambda record: record.with_accepted("pve1", ACCEPTED))
    records.update(host, 100, WEB, lambda record: record.with_accepted("pve2", other))
    records.update(host, 100, WEB, lambda record: record.with_accepted("pve3", other))
    records.update(host, 100, WEB, lambda record: record.with_accepted("pve3", None))
    record = records.read(host, 100, WEB)
    assert record is not None and record.accepted == {"pve1": ACCEPTED, "pve2": other}


def test_removing_what_is_not_there_writes_nothing(host: Host) -> None:
    assert not records.update(host, 100, WEB, lambda record: record.with_accepted("pve1", None)._replace(allowance=None))
    assert not file(host).parent.exists() or not file(host).exists()


def test_keys_of_a_newer_version_stay(host: Host) -> None:
    file(host).write_text(json.dumps({"version": 2, "uuid": WEB.uuid, "ctime": WEB.ctime, "later": {"x": 1}}))
    records.update(host, 100, WEB, lambda record: record._replace(allowance=ALLOWANCE))
    records.update(host, 100, WEB, lambda record: record._replace(allowance=None))
    assert json.loads(file(host).read_text())["later"] == {"x": 1}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("accepted", {"pve1": {"hostpci": {}, "devices": {}}}),
        ("accepted", {"pve1": {"hostpci": {}, "devices": {"x": {"id": "10de:zz"}}, "members": []}}),
        ("accepted", {"pve1": {"hostpci": {}, "devices": {"x": 5}, "members": []}}),
        ("accepted", {"pve1": {"hostpci": [], "devices": {}, "members": []}}),
        ("accepted", {"pve1": {"hostpci": {}, "devices": {}, "members": [5]}}),
        ("allowance", {"reason": "x", "by": "y", "when": -1}),
        ("allowance", {"reason": "\x1b", "by": "y", "when": 1}),
        ("attachment", []),
    ],
)
def test_a_broken_part_does_not_lose_the_others(host: Host, key: str, value: object) -> None:
    records.update(
        host, 100, WEB, lambda record: record.with_accepted("pve1", ACCEPTED)._replace(allowance=ALLOWANCE, attachment=ATTACHMENT)
    )
    document = json.loads(file(host).read_text())
    file(host).write_text(json.dumps({**document, key: value}))
    record = records.read(host, 100, WEB)
    assert record is not None and f"has an unusable part: {key} " in record.broken
    parts = {"accepted": {"pve1": ACCEPTED}, "allowance": ALLOWANCE, "attachment": ATTACHMENT, key: {} if key == "accepted" else None}
    assert record == records.Record(WEB, broken=record.broken, **parts)


def test_a_lock_is_waited_for_as_long_as_reported(host: Host) -> None:
    with records.lock(host, 100, 1.0), pytest.raises(PmxcfsAway, match="another process holds the lock"):
        records.update(host, 100, WEB, lambda record: record.with_accepted("pve1", ACCEPTED), wait=0.05)
