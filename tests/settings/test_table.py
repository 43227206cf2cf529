"""The table of options, and what is generated from it."""

from __future__ import annotations

import pathlib
import re

import pytest
from configobj import ConfigObj
from configobj.validate import Validator

from pvehooks import settings, settings_file
from pvehooks.host import Host

PROJECT = pathlib.Path(__file__).parents[2]
SECTIONS = {
    "rng": settings.RngSettings,
    "guard": settings.GuardSettings,
    "watch": settings.WatchSettings,
    "firmware": settings.FirmwareSettings,
    "cluster": settings.ClusterSettings,
    "metrics": settings.MetricsSettings,
}
WITH_DEFAULT = [option for option in settings.OPTIONS if option.default is not None]


def label(option: settings.Option) -> str:
    return f"{option.section}-{option.name}"


def test_the_shipped_conffile_is_the_generated_one() -> None:
    shipped = (PROJECT / "etc/pvehooks.conf").read_text(encoding="utf-8")
    assert shipped == settings.conffile(), "write etc/pvehooks.conf anew from settings.conffile()"


def test_the_shipped_conffile_changes_nothing(tmp_path: pathlib.Path) -> None:
    builtin = settings.load(Host(str(tmp_path)))
    (tmp_path / "etc/pvehooks").mkdir(parents=True)
    (tmp_path / "etc/pvehooks/pvehooks.conf").write_text(settings.conffile())
    assert settings.load(Host(str(tmp_path)))._replace(files=(), sources=builtin.sources) == builtin


def test_the_shipped_conffile_can_be_uncommented_whole(tmp_path: pathlib.Path) -> None:
    builtin = settings.load(Host(str(tmp_path)))
    text = re.sub(r"^#(?=\S)", "", settings.conffile(), flags=re.MULTILINE)
    (tmp_path / "etc/pvehooks").mkdir(parents=True)
    (tmp_path / "etc/pvehooks/pvehooks.conf").write_text(text)
    loaded = settings.load(Host(str(tmp_path)))
    assert loaded.rng() == builtin.rng()
    assert loaded.watch == builtin.watch
    assert [option.name for option in WITH_DEFAULT if loaded.origin(option.section, option.name) == "built-in"] == []
    assert loaded.severities == {"rng-missing": "warning"}
    assert loaded.guests == (100,)


@pytest.mark.parametrize("option", WITH_DEFAULT, ids=label)
def test_a_default_is_what_configobj_makes_of_the_check(option: settings.Option) -> None:
    value = Validator(settings_file.CHECKS).get_default_value(option.check)
    assert (option.default, type(option.default)) == (value, type(value))


@pytest.mark.parametrize("option", WITH_DEFAULT, ids=label)
def test_every_option_with_a_default_has_its_typed_field(option: settings.Option) -> None:
    fields = SECTIONS[option.section].__annotations__
    assert type(option.default).__name__ in (fields[option.name], getattr(fields[option.name], "__forward_arg__", ""))


def test_there_is_no_field_without_an_option() -> None:
    fields = {(section, name) for section, typed in SECTIONS.items() for name in typed._fields}
    assert fields == {(option.section, option.name) for option in WITH_DEFAULT}


def test_the_configspec_is_one_that_configobj_takes() -> None:
    spec = ConfigObj(settings.configspec(), list_values=False, interpolation=False, _inspec=True)
    for section in ("rng", "guard"):
        assert spec["__many__"][section].keys() == [o.name for o in settings.OPTIONS if o.per_guest and o.section == section]
    assert spec["rules"].keys() == ["__many__"]


@pytest.mark.parametrize("option", settings.OPTIONS, ids=label)
def test_every_option_is_described_in_one_or_a_few_sentences(option: settings.Option) -> None:
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
    assert settings.nearest(word, [option.name for option in settings.OPTIONS]) == meant


@pytest.mark.parametrize(("value", "text"), [(True, "yes"), (False, "no"), (0.2, "0.2"), (5.0, "5"), (1024, "1024"), ("inject", "inject")])
def test_written(value: settings.Value, text: str) -> None:
    assert settings.written(value) == text
