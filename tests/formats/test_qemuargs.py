"""Splitting a guest's `args` as Perl's Text::ParseWords does, and putting our part in and out."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pvehooks.formats import qemuargs

OURS = "-blockdev driver=raw,node-name=pvehooks-firmware -machine pflash0=pvehooks-firmware"
# What PVE's split_args does: Perl itself says.
PERL = r"""
use strict; use warnings; use Text::ParseWords; use JSON::PP;
my $lines = decode_json(do { local $/; <STDIN> });
print encode_json([map { [Text::ParseWords::shellwords($_)] } @$lines]);
"""


def perl(lines: list[str]) -> list[list[str]]:
    run = subprocess.run(["/usr/bin/perl", "-e", PERL], input=json.dumps(lines).encode(), capture_output=True, check=True)
    found: list[list[str]] = json.loads(run.stdout)
    return found


texts = st.text(alphabet="ab\\\"' \t,=-\u00e9", max_size=24)


@settings(max_examples=60)
@given(st.lists(texts, min_size=20, max_size=60))
@example(["'a\\'b' c", '"a\\"b"c d', "a\\", "'", "''", '"" ""', "a''b", " a ", "\\ a", "a\\ b", "'a' 'b", "-x '\\\\'"])
def test_splits_as_perl_does(lines: list[str]) -> None:
    for line, words in zip(lines, perl(lines), strict=True):
        ours = qemuargs.split(line)
        assert words == list(ours or ()), line
        assert (ours is None) is (not words and bool(line.strip())), line


@given(st.text(alphabet="ab\\\"' \t,=-$\u00e9", min_size=1, max_size=24))
def test_a_quoted_word_comes_out_as_it_is(word: str) -> None:
    assert qemuargs.split(qemuargs.quoted(word)) == (word,)


@settings(max_examples=300)
@given(texts.map(str.strip))
def test_ours_goes_in_and_out_without_a_trace(theirs: str) -> None:
    try:
        whole = qemuargs.joined(theirs, OURS)
    except qemuargs.ArgsError:
        return
    assert qemuargs.split(whole) == (*(qemuargs.split(theirs) or ()), *OURS.split())
    assert qemuargs.without(whole, OURS) == theirs


@given(texts.map(str.strip), texts.map(str.strip))
def test_words_that_came_behind_ours_are_kept(theirs: str, later: str) -> None:
    assume(later and qemuargs.split(later) is not None)
    try:
        whole = f"{qemuargs.joined(theirs, OURS)} {later}"
    except qemuargs.ArgsError:
        return
    left = qemuargs.without(whole, OURS)
    assert left is not None
    assert qemuargs.split(left) == (*(qemuargs.split(theirs) or ()), *(qemuargs.split(later) or ()))


@pytest.mark.parametrize("theirs", ["-name 'x", "-name x\\", '-name "x'])
def test_unclosed_words_are_refused(theirs: str) -> None:
    with pytest.raises(qemuargs.ArgsError):
        qemuargs.joined(theirs, OURS)


@pytest.mark.parametrize("args", ["", "-name x", f"{OURS} {OURS}", f"x{OURS}", f"{OURS}x", f"'{OURS}'", OURS.replace("raw", "qcow2")])
def test_what_is_not_ours_is_not_taken_out(args: str) -> None:
    assert qemuargs.without(args, OURS) is None
