"""The command line run in this process, which takes a tenth of the time that one of its own would take."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterator
from typing import NamedTuple
from unittest import mock

from pvehooks.cli.main import main
from tests.beds import printed


class Ended(NamedTuple):
    """How it ended, and what it printed: first all of standard output, then all of standard error."""

    status: int
    output: str


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Variables of the environment, as a new process would find them; times are those of UTC if TZ is not among them."""
    try:
        with mock.patch.dict(os.environ, {"TZ": "UTC", **variables}):
            time.tzset()
            yield
    finally:
        time.tzset()


def pvehooks(*arguments: str, **variables: str) -> Ended:
    """Runs it; a traceback is the test's. JSON that it prints has to be as its schema says."""
    out, err = io.StringIO(), io.StringIO()
    with environment(**variables), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(list(arguments))
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
    if printed.is_json(arguments):
        printed.validate(arguments, out.getvalue())
    return Ended(status, out.getvalue() + err.getvalue())
