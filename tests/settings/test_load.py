"""Layers, guests, ignores, and where each setting comes from."""

from __future__ import annotations

import errno
import os
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvehooks.errors import EXIT_COULD_NOT_LOOK, SettingsError
from pvehooks.host import Host
from pvehooks.settings import load, table

CLUSTER, NODE = "etc/pve/pvehooks/pvehooks.conf", "etc/pvehooks/pvehooks.conf"


def tree(root: pathlib.Path, cluster: str | None = None, node: str | None = None) -> Host:
    for name, text in ((CLUSTER, cluster), (NODE, node)):
        if text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    return Host(str(root))


def test_without_files_the_built_in_values_hold(tmp_path: pathlib.Path) -> None:
    loaded = load.load(tree(tmp_path))
    assert loaded.rng() == ("inject", "/dev/urandom", 1024, 1000, "needed", "warn", True, "auto")
    assert loaded.rng().value == "source=/dev/urandom,max_bytes=1024,period=1000"
    assert loaded.watch == (60, 0.2, 600)
    assert (loaded.severities, loaded.guests, loaded.ignored(100), loaded.files) == ({}, (), {}, ())
    assert loaded.origin("rng", "mode") == "built-in"


def test_the_node_wins_over_the_cluster_option_by_option(tmp_path: pathlib.Path) -> None:
    loaded = load.load(
        tree(
            tmp_path,
            cluster="[rng]\nmode = off\nperiod = 7\n[rules]\nrng-missing = block\nrng-unlimited = info\n",
            node="# ours\n[rng]\nmode = warn\n[rules]\nrng-missing = info\n",
        )
    )
    assert (loaded.rng().mode, loaded.rng().period) == ("warn", 7)
    assert loaded.origin("rng", "mode") == "/etc/pvehooks/pvehooks.conf, line 3"
    assert loaded.origin("rng", "period") == "/etc/pve/pvehooks/pvehooks.conf, line 3"
    assert loaded.severities == {"rng-missing": "info", "rng-unlimited": "info"}
    assert loaded.where("rules", "rng-missing") == "/etc/pvehooks/pvehooks.conf, line 5"
    assert loaded.where("rules", "rng-source") == ""
    assert loaded.files == (table.CLUSTER_FILE, table.NODE_FILE)


def test_a_guest_has_its_own_from_both_files(tmp_path: pathlib.Path) -> None:
    loaded = load.load(
        tree(
            tmp_path,
            cluster="[guest 100]\nignore = rng-missing: cluster\n[[rng]]\nmode = off\nperiod = 7\n[guest 101]\n[[rng]]\nmode = off\n",
            node="[rng]\nscope = all\n[guest   100]\nignore = rng-unlimited: node\n[[rng]]\nmode = warn\n",
        )
    )
    assert (loaded.rng(100).mode, loaded.rng(100).period, loaded.rng(100).scope) == ("warn", 7, "all")
    assert (loaded.rng(101).mode, loaded.rng(102).mode, loaded.rng().mode) == ("off", "inject", "inject")
    assert loaded.ignored(100) == {"rng-unlimited": "node"}
    assert loaded.guests == (100, 101)
    assert loaded.origin("rng", "period", 100) == "/etc/pve/pvehooks/pvehooks.conf, line 5"
    assert loaded.origin("rng", "mode", 100) == "/etc/pvehooks/pvehooks.conf, line 6"
    assert loaded.origin("rng", "scope", 100) == "/etc/pvehooks/pvehooks.conf, line 2"


def test_all_that_can_be_set(tmp_path: pathlib.Path) -> None:
    text = """
[rng]
mode = 'warn'      # quotes and comments
source = /dev/hwrng
max_bytes = 0
period = 4294967295
scope = all
existing = inject
skip_with_rdrand = off
writer = file
[watch]
interval = 3600
settle = 5
detach_after = 0
"""
    loaded = load.load(tree(tmp_path, node=text))
    assert loaded.rng() == ("warn", "/dev/hwrng", 0, 4294967295, "all", "inject", False, "file")
    assert loaded.watch == (3600, 5.0, 0)


@pytest.mark.parametrize(
    ("value", "reasons"),
    [
        pytest.param("rng-missing: local disk", {"rng-missing": "local disk"}, id="one"),
        pytest.param("rng-missing:x", {"rng-missing": "x"}, id="no blank"),
        pytest.param("a-b: one, c-d: two", {"a-b": "one", "c-d": "two"}, id="two"),
        pytest.param("a-b: one, or two, c-d: three", {"a-b": "one, or two", "c-d": "three"}, id="comma in a reason"),
        pytest.param("a-b: see, note: this, https://x/y", {"a-b": "see, note: this, https://x/y"}, id="colon in a reason"),
        pytest.param("a-b: it's ours", {"a-b": "it's ours"}, id="apostrophe"),
        pytest.param('"a-b: ticket #12, done"', {"a-b": "ticket #12, done"}, id="quoted"),
        pytest.param("a-b: %(mode)s ${mode} 5%", {"a-b": "%(mode)s ${mode} 5%"}, id="no interpolation"),
        pytest.param("a-b: known # said Jo", {"a-b": "known"}, id="comment"),
        pytest.param('"a-b: x, y", "c-d: z"', {"a-b": "x, y", "c-d": "z"}, id="quoted items"),
        pytest.param("'''a-b: one, c-d: two'''  # why", {"a-b": "one", "c-d": "two"}, id="triple on one line"),
        pytest.param('"""\n  a-b: one\n  c-d: two,\n e-f: three\n"""', {"a-b": "one", "c-d": "two", "e-f": "three"}, id="lines"),
        pytest.param('"""a-b: one\n  and   more\nc-d: two\n[rng]\n"""', {"a-b": "one and more", "c-d": "two [rng]"}, id="goes on"),
    ],
)
def test_ignore(tmp_path: pathlib.Path, value: str, reasons: dict[str, str]) -> None:
    loaded = load.load(tree(tmp_path, node=f"[guest 100]\nignore = {value}\n[[rng]]\nmode = off\n"))
    assert loaded.ignored(100) == reasons
    assert loaded.rng(100).mode == "off"


def test_lines_are_right_behind_and_inside_a_value_of_several_lines(tmp_path: pathlib.Path) -> None:
    text = '\n# a\n[guest 100]\nignore = """\na-b: one\n\nc-d: two\n"""\n\n  [[rng]]\n  # b\n  mode = off\n[rules]\r\na-b = info\r\n'
    loaded = load.load(tree(tmp_path, node=text))
    assert loaded.where("ignore", "a-b") == "/etc/pvehooks/pvehooks.conf, line 5"
    assert loaded.where("ignore", "c-d", 100) == "/etc/pvehooks/pvehooks.conf, line 7"
    assert loaded.where("ignore", "c-d", 101) == ""
    assert loaded.origin("rng", "mode", 100) == "/etc/pvehooks/pvehooks.conf, line 12"
    assert loaded.where("rules", "a-b") == "/etc/pvehooks/pvehooks.conf, line 14"


FILLING = st.lists(st.sampled_from(["", "# comment", "   ", "#mode = off"]), max_size=3)
VALUES = {
    ("rng",): ("mode = warn", "period = 5", "scope='all' # why"),
    ("guest 100",): ("ignore = '''\na-b: one\n'''", 'ignore = """a-b: x"""', "ignore = a-b: x, y"),
    ("guest 100", "rng"): ("mode = off", "existing = inject"),
    ("rules",): ("a-b = info", "c-d = 'block'"),
}


@given(st.permutations([("rng",), ("guest 100",), ("rules",)]), st.data())
def test_lines_are_right_wherever_an_option_stands(sections: list[tuple[str, ...]], data: st.DataObject) -> None:
    lines: list[str] = []
    expected = {}
    for section in sections:
        for path in (section, ("guest 100", "rng")) if section == ("guest 100",) else (section,):
            lines += [*data.draw(FILLING), "[" * len(path) + path[-1] + "]" * len(path)]
            text = data.draw(st.sampled_from(VALUES[path]))
            lines += data.draw(FILLING)
            inner = text.find("\n") >= 0
            expected[path, text.partition("=")[0].strip()] = len(lines) + 1 + inner
            lines += text.split("\n")
    layer, problems = load._layer("F", "\n".join(lines).encode())
    assert problems == []
    found: dict[tuple[tuple[str, ...], str], int] = {}
    found.update({(("rules",), name): setting.place.line for name, setting in layer.rules.items()})
    found.update({((section,), name): setting.place.line for (section, name), setting in layer.common.items()})
    found.update({(("guest 100", s), name): setting.place.line for (s, name), setting in layer.by_guest[100].items()})
    found.update({(("guest 100",), "ignore"): layer.ignores[100]["a-b"].place.line})
    assert found == expected


def test_json_and_rows_report_value_and_origin(tmp_path: pathlib.Path) -> None:
    node = "[rng]\nskip_with_rdrand = no\n[rules]\na-b = info\n[guest 100]\nignore = c-d: why\n[[rng]]\nmode = off\n[guest 101]\n"
    loaded = load.load(tree(tmp_path, node=node))
    document = loaded.as_json()
    file = "/etc/pvehooks/pvehooks.conf, line"
    assert document["rng"]["skip_with_rdrand"] == {"value": False, "origin": f"{file} 2"}
    assert document["watch"]["settle"] == {"value": 0.2, "origin": "built-in"}
    assert document["rules"] == {"a-b": {"value": "info", "origin": f"{file} 4"}}
    assert document["guests"] == {
        "100": {
            "rng": {"mode": {"value": "off", "origin": f"{file} 8"}},
            "ignore": {"c-d": {"value": "why", "origin": f"{file} 6"}},
        },
        "101": {"ignore": {}},
    }
    rows = list(loaded.rows())
    assert rows[0] == ("[rng]", "mode", "inject", "built-in")
    assert ("[rng]", "skip_with_rdrand", "no", f"{file} 2") in rows
    assert rows[-3:] == [
        ("[rules]", "a-b", "info", f"{file} 4"),
        ("[guest 100] [[rng]]", "mode", "off", f"{file} 8"),
        ("[guest 100]", "ignore", "c-d: why", f"{file} 6"),
    ]


def test_unknown_rules_are_named_with_their_lines(tmp_path: pathlib.Path) -> None:
    node = "[rules]\nrng-mising = info\nrng-missing = info\n[guest 100]\nignore = rng-missing: a, zz-zz: b\n"
    loaded = load.load(tree(tmp_path, node=node))
    assert loaded.unknown_rules({"rng-mising", "rng-missing", "zz-zz"}) == ()
    assert loaded.unknown_rules({"rng-missing", "rng-unlimited"}) == (
        "/etc/pvehooks/pvehooks.conf, line 2: unknown rule 'rng-mising' in [rules]; did you mean 'rng-missing'?",
        "/etc/pvehooks/pvehooks.conf, line 5: unknown rule 'zz-zz' in ignore of [guest 100]",
    )


def test_settings_cannot_be_changed(tmp_path: pathlib.Path) -> None:
    loaded = load.load(tree(tmp_path, node="[guest 100]\nignore = a-b: x\n[[rng]]\nmode = off\n"))
    with pytest.raises(AttributeError):
        loaded.files = ()  # type: ignore[misc]
    for mapping in (loaded.common, loaded.by_guest, loaded.by_guest[100], loaded.rules, loaded.ignores, loaded.ignores[100]):
        with pytest.raises(TypeError):
            mapping["x"] = 1  # type: ignore[index]


class Unreadable(Host):
    """A node whose cluster file cannot be read, as with a killed pmxcfs."""

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        if path == table.CLUSTER_FILE:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN), path)
        return super().read(path, limit)


def test_a_file_that_cannot_be_read_is_another_matter_than_a_bad_one(tmp_path: pathlib.Path) -> None:
    tree(tmp_path, node="[rng]\nmode = off\n")
    words = "/etc/pve/pvehooks/pvehooks.conf: cannot be read: Transport endpoint is not connected"
    with pytest.raises(load.SettingsUnreadable) as caught:
        load.load(Unreadable(str(tmp_path)))
    assert (caught.value.problems, caught.value.exit_status) == ((words,), EXIT_COULD_NOT_LOOK)
    tree(tmp_path, node="[rng]\nmode = x\n")
    with pytest.raises(SettingsError) as bad:
        load.load(Unreadable(str(tmp_path)))
    assert not isinstance(bad.value, load.SettingsUnreadable)
    assert [line.split(":")[0] for line in bad.value.problems] == [table.CLUSTER_FILE, f"{table.NODE_FILE}, line 2"]


@pytest.mark.parametrize("kind", ["directory", "loop"])
def test_what_is_no_file_is_unreadable(tmp_path: pathlib.Path, kind: str) -> None:
    path = tmp_path / NODE
    path.parent.mkdir(parents=True)
    if kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(path.name)
    with pytest.raises(load.SettingsUnreadable):
        load.load(Host(str(tmp_path)))


def test_a_link_never_leads_out_of_the_tree(tmp_path: pathlib.Path) -> None:
    (tmp_path / "outside").write_text("[rng]\nmode = off\n")
    root = tmp_path / "root"
    (root / NODE).parent.mkdir(parents=True)
    (root / NODE).symlink_to(tmp_path / "outside")
    assert load.load(Host(str(root))).rng().mode == "inject"


def test_the_mark_changes_with_the_files(tmp_path: pathlib.Path) -> None:
    host = tree(tmp_path)
    marks = [load.mark(host)]
    for cluster, node in ((None, "[rng]\n"), (None, "[rng]\n\n"), ("", None)):
        tree(tmp_path, cluster, node)
        assert load.mark(host) == load.mark(host)
        marks.append(load.mark(host))
    marks.append(load.mark(Unreadable(str(tmp_path))))
    assert len(set(marks)) == len(marks)


def test_configobj_is_not_loaded_for_a_file_that_sets_nothing(tmp_path: pathlib.Path) -> None:
    program = (
        "import sys; from pvehooks.settings import load; from pvehooks.host import Host; "
        f"load.load(Host({str(tmp_path)!r})); print('configobj' in sys.modules)"
    )
    answers = []
    for text in (table.example(), "[rng]\nmode = off\n"):
        tree(tmp_path, node=text)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        answers.append(done.stdout.strip())
    assert answers == ["False", "True"]
