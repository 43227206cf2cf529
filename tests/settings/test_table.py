"""The table of options, and what is generated from it."""

from __future__ import annotations

import hashlib
import pathlib
import re
from typing import Any

import pytest
from configobj.validate import ValidateError, Validator

from pvehooks.host import Host
from pvehooks.settings import compiled, load, sections, table
from pvehooks.settings import file as settings_file

PROJECT = pathlib.Path(__file__).parents[2]
SECTIONS: dict[str, Any] = {
    "rng": sections.RngSettings,
    "guard": compiled.GuardSettings,
    "watch": sections.WatchSettings,
    "firmware": sections.FirmwareSettings,
    "cluster": sections.ClusterSettings,
    "metrics": sections.MetricsSettings,
    "notify": sections.NotifySettings,
    "gui": sections.GuiSettings,
}
WITH_DEFAULT = [option for option in table.OPTIONS if option.default is not None]


def label(option: table.Option) -> str:
    return f"{option.section}-{option.name}"


def test_the_conffile_sets_nothing_and_stays_as_it_is() -> None:
    """dpkg asks on each node where it was edited, and unattended-upgrades passes over the package there, when its text changes."""
    shipped = (PROJECT / "etc/pvehooks.conf").read_bytes()
    assert all(line.startswith(b"#") for line in shipped.splitlines())
    assert hashlib.sha256(shipped).hexdigest() == "0bdce8dafa78bedefa7d3fad18bff4e794cec0b2dad8a69b4fd1c0fdb5a0b758", (
        "options belong into table.py"
    )


def test_the_example_changes_nothing(tmp_path: pathlib.Path) -> None:
    builtin = load.load(Host(str(tmp_path)))
    (tmp_path / "etc/pvehooks").mkdir(parents=True)
    (tmp_path / "etc/pvehooks/pvehooks.conf").write_text(table.example())
    assert load.load(Host(str(tmp_path)))._replace(files=(), sources=builtin.sources) == builtin


def test_the_example_can_be_uncommented_whole(tmp_path: pathlib.Path) -> None:
    builtin = load.load(Host(str(tmp_path)))
    text = re.sub(r"^#(?=\S)", "", table.example(), flags=re.MULTILINE)
    (tmp_path / "etc/pvehooks").mkdir(parents=True)
    (tmp_path / "etc/pvehooks/pvehooks.conf").write_text(text)
    loaded = load.load(Host(str(tmp_path)))
    assert loaded.rng() == builtin.rng()
    assert loaded.watch == builtin.watch
    assert [option.name for option in WITH_DEFAULT if loaded.origin(option.section, option.name) == "built-in"] == []
    assert loaded.severities == {"rng-missing": "warning"}
    assert loaded.guests == (100,)


@pytest.mark.parametrize("option", WITH_DEFAULT, ids=label)
def test_a_default_is_what_configobj_makes_of_the_check(option: table.Option) -> None:
    value = Validator(settings_file.CHECKS).get_default_value(option.check)
    assert (option.default, type(option.default)) == (value, type(value))


@pytest.mark.parametrize("option", WITH_DEFAULT, ids=label)
def test_every_option_with_a_default_has_its_typed_field(option: table.Option) -> None:
    fields = SECTIONS[option.section].__annotations__
    assert type(option.default).__name__ in (fields[option.name], getattr(fields[option.name], "__forward_arg__", ""))


def test_there_is_no_field_without_an_option() -> None:
    fields = {(section, name) for section, typed in SECTIONS.items() for name in typed._fields}
    assert fields == {(option.section, option.name) for option in WITH_DEFAULT}


@pytest.mark.parametrize("option", table.OPTIONS, ids=label)
def test_the_check_takes_what_is_allowed(option: table.Option) -> None:
    validator = Validator(settings_file.CHECKS)
    limits = [value for name, value in option.arguments.items() if name in ("min", "max")]
    for text in (*option.choices, *limits, *(["rng-missing: it is fine"] if option.kind == "force_list" else [])):
        validator.check(option.check, text)
    for text in ("no-such-value", "-1"):
        if option.kind != "force_list" and (option.kind, text) != ("driver", "no-such-value"):
            with pytest.raises(ValidateError):
                validator.check(option.check, text)


@pytest.mark.parametrize("option", table.OPTIONS, ids=label)
def test_every_option_is_described_in_one_or_a_few_sentences(option: table.Option) -> None:
    assert re.fullmatch(r"[A-Z/0-9].*\.", option.doc), option.doc
    assert option.doc.count(". ") <= 2


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        pytest.param("max_byte", "max_bytes", id="a letter short"),
        pytest.param("MODE", "mode", id="capitals"),
        pytest.param("zzz", "", id="nothing near"),
    ],
)
def test_nearest(word: str, meant: str) -> None:
    assert table.nearest(word, [option.name for option in table.OPTIONS]) == meant


@pytest.mark.parametrize(("value", "text"), [(True, "yes"), (False, "no"), (0.2, "0.2"), (5.0, "5"), (1024, "1024"), ("inject", "inject")])
def test_written(value: table.Value, text: str) -> None:
    assert table.written(value) == text
