"""What each kind of bad settings file gets: all problems, a line each, with file, line and the nearest valid name."""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pvehooks.errors import EXIT_USAGE, SettingsError
from pvehooks.host import Host
from pvehooks.settings import file as settings_file
from pvehooks.settings import load, table

WRITE_DEVICE = "write [device 0000:01:00.0], [device 144d:a808] or [device 144d:a808 serial NUMBER]"
METHODS = "flr, af_flr, pm, bus, cxl_bus, device_specific, acpi (several with commas), or none or remove-rescan alone"
TABLE = [
    pytest.param("[rng]\nmax_byte = 5\n", ["line 2: unknown option 'max_byte' in [rng]; did you mean 'max_bytes'?"], id="option misspelt"),
    pytest.param("[rng]\nzzz = 5\n", ["line 2: unknown option 'zzz' in [rng]"], id="option unknown"),
    pytest.param("[rng]\nMode = off\n", ["line 2: unknown option 'Mode' in [rng]; did you mean 'mode'?"], id="option in capitals"),
    pytest.param(
        "[watch]\nperiod = 5\n",
        ["line 2: unknown option 'period' in [watch]; it belongs below [rng]"],
        id="option in the wrong section",
    ),
    pytest.param(
        "mode = off\n[rng]\n",
        ["line 1: option 'mode' is before the first [section]; it belongs below [rng]"],
        id="option before any section",
    ),
    pytest.param("zzz = off\n[rng]\n", ["line 1: option 'zzz' is before the first [section]"], id="unknown option before any section"),
    pytest.param(
        "[guest 100]\nmode = off\n",
        ["line 2: unknown option 'mode' in [guest 100]; it belongs below [[rng]]"],
        id="option of a guest without [[rng]]",
    ),
    pytest.param("[guest 100]\n[[rng]]\nwriter = qm\n", ["line 3: option 'writer' of [rng] cannot be set per VM"], id="writer per guest"),
    pytest.param("[guest 100]\nwriter = qm\n", ["line 2: option 'writer' of [rng] cannot be set per VM"], id="writer in guest"),
    pytest.param(
        "[guest 100]\ninterval = 9\n",
        ["line 2: option 'interval' of [watch] cannot be set per VM"],
        id="watch option in guest",
    ),
    pytest.param("[rng]\nignore = a-b: c\n", ["line 2: unknown option 'ignore' in [rng]"], id="ignore outside"),
    pytest.param(
        "[guest 100]\nignroe = a-b: c\n[[rng]]\nmod = off\n",
        [
            "line 2: unknown option 'ignroe' in [guest 100]; did you mean 'ignore'?",
            "line 4: unknown option 'mod' in [guest 100] [[rng]]; did you mean 'mode'?",
        ],
        id="misspelt below guest",
    ),
    pytest.param(
        "[rgn]\nmode = off\nwrong = 1\n[watch]\ninterval = 60\n",
        ["line 1: unknown section [rgn]; did you mean [rng]?"],
        id="section misspelt",
    ),
    pytest.param("[zzz]\nmode = off\n", ["line 1: unknown section [zzz]"], id="section unknown"),
    pytest.param(
        "[gest 100]\n[[rng]]\nmode = off\n",
        ["line 1: unknown section [gest 100]; did you mean [guest 100]?"],
        id="section guest misspelt",
    ),
    pytest.param("[vm 100]\n", ["line 1: unknown section [vm 100]; did you mean [guest 100]?"], id="section vm"),
    pytest.param("[100]\n", ["line 1: unknown section [100]; did you mean [guest 100]?"], id="section number"),
    pytest.param("[guest-100]\n", ["line 1: unknown section [guest-100]; did you mean [guest 100]?"], id="section guest-100"),
    pytest.param("[guest]\nignore = a-b: c\n", ["line 1: [guest] names no VM; write [guest VMID]"], id="guest without"),
    pytest.param(
        "[device 1:0]\n[device]\n",
        [
            f"line 1: '1:0' in [device 1:0] names no device; {WRITE_DEVICE}",
            f"line 2: [device] names no device; {WRITE_DEVICE}",
        ],
        id="device that is none",
    ),
    pytest.param(
        "[devise 01:00.0]\nafter_stop = keep\n", ["line 1: unknown section [devise 01:00.0]; did you mean [device 01:00.0]?"], id="devise"
    ),
    pytest.param(
        "[device 01:00.0]\n[device 0000:01:00.0]\n",
        ["line 2: section [device 0000:01:00.0] names a device that has a section already"],
        id="device twice",
    ),
    pytest.param(
        "[device 01:00.0]\nafter-stop = retrun\nafterstop = keep\nreturn_to = vfio-pci\nmode = off\n",
        [
            "line 2: 'retrun' is not a value for 'after-stop' in [device 01:00.0]; allowed: keep or return; did you mean 'return'?",
            "line 3: unknown option 'afterstop' in [device 01:00.0]; did you mean 'after_stop'?",
            "line 4: 'vfio-pci' is not a value for 'return_to' in [device 01:00.0]; allowed: a driver of the node, not vfio-pci",
            "line 5: unknown option 'mode' in [device 01:00.0]; it belongs below [rng]",
        ],
        id="options of a device",
    ),
    pytest.param(
        "[device 01:00.0]\nreset = flr, buss\nd3cold = never\nbefore-start = reset\n",
        [
            f"line 2: 'flr, buss' is not a value for 'reset' in [device 01:00.0]; allowed: {METHODS}; did you mean 'bus'?",
            "line 3: 'never' is not a value for 'd3cold' in [device 01:00.0]; allowed: yes or no",
            "line 4: 'reset' is not a value for 'before-start' in [device 01:00.0]; allowed: rescan",
        ],
        id="methods",
    ),
    pytest.param(
        "[device 01:00.0]\nreset = flr, none\n",
        [f"line 2: 'flr, none' is not a value for 'reset' in [device 01:00.0]; allowed: {METHODS}"],
        id="none beside a method",
    ),
    pytest.param(
        "[guard]\nafter-stop = keep\nafter_stop = return\n",
        ["line 3: option 'after_stop' is given twice in [guard], first on line 2 (- and _ are the same)"],
        id="an option in two spellings",
    ),
    pytest.param(
        "[guest web]\n[[rng]]\nmode = off\n",
        ["line 1: 'web' in [guest web] is not a VMID; allowed: a number from 100 to 999999999"],
        id="vmid text",
    ),
    pytest.param("[guest 99]\n", ["line 1: '99' in [guest 99] is not a VMID; allowed: a number from 100 to 999999999"], id="vmid small"),
    pytest.param(
        "[guest 0100]\n", ["line 1: '0100' in [guest 0100] is not a VMID; allowed: a number from 100 to 999999999"], id="vmid zero"
    ),
    pytest.param(
        "[guest 1000000000]\n",
        ["line 1: '1000000000' in [guest 1000000000] is not a VMID; allowed: a number from 100 to 999999999"],
        id="vmid big",
    ),
    pytest.param(
        "[guest 100 101]\n",
        ["line 1: '100 101' in [guest 100 101] is not a VMID; allowed: a number from 100 to 999999999"],
        id="vmid two",
    ),
    pytest.param(
        "[guest 100]\n[[rgn]]\nmode = off\n",
        ["line 2: unknown section [[rgn]] in [guest 100]; did you mean [[rng]]?"],
        id="subsection misspelt",
    ),
    pytest.param("[guest 100]\n[[watch]]\ninterval = 9\n", ["line 2: [[watch]] cannot be set per VM"], id="subsection not"),
    pytest.param("[rng]\n[[rng]]\nmode = off\n", ["line 2: unknown section [[rng]] in [rng]"], id="subsection of rng"),
    pytest.param("[guest 100]\n[[rng]]\n[[[x]]]\nmode = off\n", ["line 3: unknown section [[[x]]] in [guest 100] [[rng]]"], id="too deep"),
    pytest.param("[[rng]]\nmode = off\n", ["line 1: '[[rng]]' needs a section with 1 bracket above it"], id="no parent"),
    pytest.param("[guest 100]\n[[[rng]]]\nmode = off\n", ["line 2: '[[[rng]]]' needs a section with 2 brackets above it"], id="skips"),
    pytest.param("[rng\nmode = off\n", ["line 1: '[rng' is not a section header like [rng]"], id="not a header"),
    pytest.param(
        "[[rng]\nmode = off\n[watch]\nintervall = 9\n",
        [
            "line 1: '[[rng]' is not a section header like [rng]",
            "line 4: unknown option 'intervall' in [watch]; did you mean 'interval'?",
        ],
        id="brackets",
    ),
    pytest.param("[ ]\n", ["line 1: '[ ]' is not a section header like [rng]"], id="empty header"),
    pytest.param(
        "[rng]\nmode = injekt\n",
        ["line 2: 'injekt' is not a value for 'mode' in [rng]; allowed: inject, warn or off; did you mean 'inject'?"],
        id="value wrong",
    ),
    pytest.param(
        "[metrics]\ntextfile = metrics\n",
        ["line 2: 'metrics' is not a value for 'textfile' in [metrics]; allowed: auto, off or the absolute path of a directory"],
        id="directory relative",
    ),
    pytest.param(
        "[metrics]\ntextfile = /a, /b\n",
        ["line 2: '/a, /b' is not a value for 'textfile' in [metrics]; allowed: auto, off or the absolute path of a directory"],
        id="directory two",
    ),
    pytest.param(
        "[metrics]\ntextfile = of\n",
        [
            "line 2: 'of' is not a value for 'textfile' in [metrics]; allowed: auto, off or the absolute path of a directory; did you mean 'off'?"
        ],
        id="directory near",
    ),
    pytest.param("[rng]\nmode = 5\n", ["line 2: '5' is not a value for 'mode' in [rng]; allowed: inject, warn or off"], id="value far"),
    pytest.param("[rng]\nmode =\n", ["line 2: option 'mode' in [rng] has no value; allowed: inject, warn or off"], id="value empty"),
    pytest.param(
        "[rng]\nmode = inject, warn\n",
        ["line 2: 'inject, warn' is not a value for 'mode' in [rng]; allowed: inject, warn or off; did you mean 'inject'?"],
        id="value list",
    ),
    pytest.param(
        "[rng]\nsource = /dev/urandm\n",
        [
            "line 2: '/dev/urandm' is not a value for 'source' in [rng]; allowed: /dev/urandom, /dev/random or /dev/hwrng; did you mean '/dev/urandom'?"
        ],
        id="source",
    ),
    pytest.param(
        "[rng]\nmax_bytes = many\nperiod = 0\n",
        [
            "line 2: 'many' is not a value for 'max_bytes' in [rng]; allowed: a whole number from 0 to 9223372036854775807",
            "line 3: '0' is not a value for 'period' in [rng]; allowed: a whole number from 1 to 4294967295",
        ],
        id="integer",
    ),
    pytest.param(
        "[rng]\nmax_bytes = -1\n",
        ["line 2: '-1' is not a value for 'max_bytes' in [rng]; allowed: a whole number from 0 to 9223372036854775807"],
        id="integer negative",
    ),
    pytest.param(
        "[rng]\nmax_bytes = 1k\n",
        ["line 2: '1k' is not a value for 'max_bytes' in [rng]; allowed: a whole number from 0 to 9223372036854775807"],
        id="integer unit",
    ),
    pytest.param(
        "[rng]\nmax_bytes = 1_000\nperiod = \u0661\n",
        [
            "line 2: '1_000' is not a value for 'max_bytes' in [rng]; allowed: a whole number from 0 to 9223372036854775807",
            "line 3: '\u0661' is not a value for 'period' in [rng]; allowed: a whole number from 1 to 4294967295",
        ],
        id="integer python",
    ),
    pytest.param(
        "[rng]\nmax_bytes = 9223372036854775808\n",
        ["line 2: '9223372036854775808' is not a value for 'max_bytes' in [rng]; allowed: a whole number from 0 to 9223372036854775807"],
        id="integer over",
    ),
    pytest.param(
        "[rng]\nmax_bytes = " + "9" * 3000,
        [
            "line 2: '999999999999999999999999999999999999999999999999999999999...' is not a value for 'max_bytes' in [rng]; allowed: a whole number from 0 to 9223372036854775807"
        ],
        id="integer digits",
    ),
    pytest.param(
        "[watch]\nsettle = nan\ninterval = 3601\n",
        [
            "line 2: 'nan' is not a value for 'settle' in [watch]; allowed: a number from 0.05 to 5",
            "line 3: '3601' is not a value for 'interval' in [watch]; allowed: a whole number from 5 to 3600",
        ],
        id="float",
    ),
    pytest.param(
        "[watch]\nsettle = 0.01\ninterval = 4\n",
        [
            "line 2: '0.01' is not a value for 'settle' in [watch]; allowed: a number from 0.05 to 5",
            "line 3: '4' is not a value for 'interval' in [watch]; allowed: a whole number from 5 to 3600",
        ],
        id="float range",
    ),
    pytest.param(
        "[rng]\nskip_with_rdrand = maybe\n",
        ["line 2: 'maybe' is not a value for 'skip_with_rdrand' in [rng]; allowed: yes or no"],
        id="boolean",
    ),
    pytest.param(
        "[guest 100]\n[[rng]]\nexisting = inejct\n",
        ["line 3: 'inejct' is not a value for 'existing' in [guest 100] [[rng]]; allowed: warn or inject; did you mean 'inject'?"],
        id="guest value",
    ),
    pytest.param(
        "[rules]\nrng-missing = error\nrng-unlimited = warnign\n",
        [
            "line 2: 'error' is not a value for 'rng-missing' in [rules]; allowed: block, warning or info",
            "line 3: 'warnign' is not a value for 'rng-unlimited' in [rules]; allowed: block, warning or info; did you mean 'warning'?",
        ],
        id="severity",
    ),
    pytest.param(
        "[rules]\nrng_missing = info\n__many__ = info\n",
        [
            "line 2: 'rng_missing' in [rules] is not the id of a rule; did you mean 'rng-missing'?",
            "line 3: '__many__' in [rules] is not the id of a rule; pvehooks rules lists them",
        ],
        id="rule id",
    ),
    pytest.param(
        "[rng]\nmode = off\n# x\nmode = warn\n",
        ["line 4: option 'mode' is given twice in [rng], first on line 2"],
        id="duplicate option",
    ),
    pytest.param(
        "[rng]\nmode = off\n[watch]\n[rng]\nmode = zzz\n",
        ["line 4: section [rng] is given twice: put its options below line 1, where it is first"],
        id="duplicate section",
    ),
    pytest.param(
        "[guest 100]\n[guest  100]\n[[rng]]\nmode = off\n",
        ["line 2: section [guest 100] is given twice: put its options below line 1, where it is first"],
        id="duplicate guest",
    ),
    pytest.param(
        "[guest 100]\n[[rng]]\nmode = off\n[[rng]]\nmode = off\n",
        ["line 4: section [guest 100] [[rng]] is given twice: put its options below line 2, where it is first"],
        id="duplicate subsection",
    ),
    pytest.param(
        "[guest 100]\nignore = '''\na-b: c\n'''\nignore = '''\nc-d: e\n'''\n[[rng]]\nmode = zzz\n",
        [
            "line 5: option 'ignore' is given twice in [guest 100], first on line 2",
            "line 9: 'zzz' is not a value for 'mode' in [guest 100] [[rng]]; allowed: inject, warn or off",
        ],
        id="duplicate triple",
    ),
    pytest.param("[rng]\nmode off\n", ["line 2: 'mode off' is neither a [section] nor an option = value"], id="no equals"),
    pytest.param("[rng]\n= off\n", ["line 2: '= off' is neither a [section] nor an option = value"], id="only equals"),
    pytest.param('[rng]\n"mode" = off\n', ["line 2: '\"mode\" = off' is neither a [section] nor an option = value"], id="quoted name"),
    pytest.param('[rng]\nmode = "off\n', ["line 2: the quotes or commas in '\"off' do not match"], id="open quote"),
    pytest.param('[rng]\nmode = "off" now\n', ["line 2: the quotes or commas in '\"off\" now' do not match"], id="text after quote"),
    pytest.param(
        "[guest 100]\nignore = a-b: x,, c-d: y\n",
        ["line 2: the quotes or commas in 'a-b: x,, c-d: y' do not match"],
        id="empty item",
    ),
    pytest.param(
        "[guest 100]\nignore = '''\na-b: c\n[rng]\nmode = zzz\n",
        ["line 2: the triple quotes that start here (''') are never closed"],
        id="open triple",
    ),
    pytest.param(
        "[guest 100]\nignore = '''\na-b: c\n''' x\n[rng]\nmode = zzz\n",
        [
            "line 2: 'x' follows the closing quotes",
            "line 6: 'zzz' is not a value for 'mode' in [rng]; allowed: inject, warn or off",
        ],
        id="text after triple",
    ),
    pytest.param(
        "[guest 100]\nignore = rng-missing\n",
        ["line 2: 'rng-missing' is ignored without a reason in [guest 100]; write ignore = rule-id: reason"],
        id="ignore no reason",
    ),
    pytest.param(
        "[guest 100]\nignore = rng-missing:, a-b: x\n",
        ["line 2: 'rng-missing' is ignored without a reason in [guest 100]; write ignore = rule-id: reason"],
        id="ignore empty reason",
    ),
    pytest.param(
        "[guest 100]\nignore =\n",
        ["line 2: option 'ignore' in [guest 100] has no value; allowed: rule-id: reason"],
        id="ignore empty",
    ),
    pytest.param(
        "[guest 100]\nignore = '''\n\n'''\n",
        ["line 2: option 'ignore' in [guest 100] has no value; allowed: rule-id: reason"],
        id="ignore empty triple",
    ),
    pytest.param(
        "[guest 100]\nignore = it is fine\n",
        ["line 2: 'it is fine' names no rule in [guest 100]; write ignore = rule-id: reason"],
        id="ignore no rule",
    ),
    pytest.param(
        "[guest 100]\nignore = '''\na-b: x\na-b: y\n'''\n",
        ["line 4: rule 'a-b' is ignored twice in [guest 100]"],
        id="ignore twice",
    ),
    pytest.param(
        "[guest 100]\nignore = '''\na-b: x\nc-d:\n'''\n",
        ["line 4: 'c-d' is ignored without a reason in [guest 100]; write ignore = rule-id: reason"],
        id="ignore reason missing in lines",
    ),
    pytest.param(b"\xef\xbb\xbf[rng]\n", ["line 1: starts with a byte order mark (BOM); save it as UTF-8 without one"], id="bom"),
    pytest.param("[rng]\n".encode("utf-16"), ["line 1: starts with a byte order mark (BOM); save it as UTF-8 without one"], id="utf-16"),
    pytest.param(b"[rng]\n\nmode = \x00\n", ["line 3: contains a NUL byte: this is not a text file"], id="nul"),
    pytest.param(b"[rng]\n# gr\xfc\xdf\n", ["line 2: byte 0xfc is not UTF-8; save the file as UTF-8"], id="latin-1"),
    pytest.param(b"#\n" * (1 << 19) + b"#", ["is larger than 1 MiB"], id="too large"),
    pytest.param(b"[rng]\n" + b"#" * 5000, ["line 2: is longer than 4096 bytes; split it with triple quotes"], id="long line"),
    pytest.param(
        "[rng]\n\x1b[31mmode = off\nmode = \x1b]0;x\x07\n",
        [
            "line 2: unknown option '\\x1b[31mmode' in [rng]; did you mean 'mode'?",
            "line 3: '\\x1b]0;x\\x07' is not a value for 'mode' in [rng]; allowed: inject, warn or off",
        ],
        id="escape codes",
    ),
    pytest.param("[rng]\nmode = off\u0085\u2028\nzz\x0b = 1\n", ["line 3: unknown option 'zz' in [rng]"], id="unicode line ends"),
    pytest.param(
        "[rng]\nmode = injekt\n\nmax_byte = 7\n[wacth]\ninterval = 1\n[guest 100]\n  [[rng]]\n  period = 0\n",
        [
            "line 2: 'injekt' is not a value for 'mode' in [rng]; allowed: inject, warn or off; did you mean 'inject'?",
            "line 4: unknown option 'max_byte' in [rng]; did you mean 'max_bytes'?",
            "line 5: unknown section [wacth]; did you mean [watch]?",
            "line 9: '0' is not a value for 'period' in [guest 100] [[rng]]; allowed: a whole number from 1 to 4294967295",
        ],
        id="several",
    ),
]


def problems(root: pathlib.Path, content: bytes) -> tuple[str, ...]:
    """The lines of the SettingsError that this node's file gets; none if it is good."""
    (root / "etc/pvehooks").mkdir(parents=True, exist_ok=True)
    (root / "etc/pvehooks/pvehooks.conf").write_bytes(content)
    try:
        load.load(Host(str(root)))
    except SettingsError as error:
        return error.problems if error.hint and error.exit_status == EXIT_USAGE else ("no hint or another exit status",)
    return ()


@pytest.mark.parametrize(("content", "expected"), TABLE)
def test_bad_input(tmp_path: pathlib.Path, content: str | bytes, expected: list[str]) -> None:
    found = problems(tmp_path, content if isinstance(content, bytes) else content.encode())
    file = table.NODE_FILE
    assert list(found) == [f"{file}, {line}" if line.startswith("line ") else f"{file}: {line}" for line in expected]


def test_the_problems_of_both_files_are_reported_at_once(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc/pve/pvehooks").mkdir(parents=True)
    (tmp_path / "etc/pve/pvehooks/pvehooks.conf").write_text("[rng]\nmode = x\n")
    found = problems(tmp_path, b"[rng]\nmode = y\n")
    assert [line.split(":")[0] for line in found] == [f"{table.CLUSTER_FILE}, line 2", f"{table.NODE_FILE}, line 2"]


def test_very_many_problems_are_counted_not_reported(tmp_path: pathlib.Path) -> None:
    found = problems(tmp_path, b"[rng]\n" + b"x\n" * 1000)
    assert len(found) == 51
    assert found[-1] == "/etc/pvehooks/pvehooks.conf: 950 further problems are not shown"


def test_what_configobj_alone_takes_for_wrong_is_reported_too() -> None:
    option = settings_file.SettingsLine(("rng",), "mode", 2, 2)
    assert settings_file.values(["[rng]", 'mode = "'], {option: "option(off)"}) == ({}, {option: None})


PIECES = r"""[rng] [[rng]] [guest·100] [guest·101] [rules] [watch] [ ] [[[ ]] ' " ''' \" ↵ ↵ ↵ = = = , # a-b:·x mode inject ignore
period 5 1e3 nan rng-missing info __many__ %(mode)s ${mode}""".split()
TEXTS = st.lists(st.sampled_from([*PIECES, "\t", "\r", "\x85"]), max_size=60).map(
    lambda pieces: " ".join(pieces).replace("·", " ").replace("↵", "\n")
)
LINES = """
[rng]
[[rng]]
[guest 100]
[guest 101]
[rules]
[watch]
[[[rng]]]
[x
  # why
'''
mode = off
mode = 'warn' # x
mode = a, b
mode = '''off'''
mode
period = 5
interval = nan
settle = 0.3
rng = 5
ignore = a-b: x, y
ignore = '''
ignore = '''a-b: x
'''# x
c-d: y'''
ignore = 'a-b: x', "c-d: y"
ignore = a-b: it's, 'x y'
ignore = ,
ignore = a-b: '
ignore = "a-b: x" "y",
rng-missing = info
__many__ = info
"""
LINED = st.lists(st.sampled_from(LINES.split("\n")), max_size=25).map("\n".join)
ANY_TEXT = st.one_of(TEXTS, LINED, st.text()).map(lambda text: text.encode("utf-8", "surrogatepass"))


@given(st.one_of(st.binary(), ANY_TEXT))
@example(b"[rng]\nmode = \xff")
def test_any_bytes_are_settings_or_problems(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    for line in problems(tmp_path_factory.getbasetemp() / "any", content):
        assert line.startswith("/etc/pvehooks/pvehooks.conf")
        assert line.isprintable()
        # The scan has found whatever configobj cannot parse, with better words.
        assert not line.endswith("cannot be understood")
