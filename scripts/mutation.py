"""Mutants of functions: pytest -p scripts.mutation --mutate PATH TESTS. Each is one small change, which at least one test should notice.

The tests are collected once. A first run of all of them shows which lines each runs. Each mutant then gets a forked process, in which
the mutated code takes the place of the function's own, and the tests that run its lines are run until one fails. Strings are left out (golden
files hold the messages), as are assertions, and what runs once, at import.
"""

from __future__ import annotations

import ast
import builtins
import functools
import gc
import importlib
import itertools
import os
import pickle
import re
import resource
import shutil
import signal
import sys
import time
import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import coverage
import pytest

PROJECT = Path(__file__).parents[1]
KNOWN = PROJECT / "scripts/equivalent-mutants.txt"
# Most of the mutants of an area that may survive.
LIMIT = 0.05
# What tests of one mutant may take together, in seconds as measured; the fastest go first.
_ENOUGH = 20.0
_MEMORY = 4 << 30
# The status of a process whose mutant cannot take the place of a function that is in memory.
_NOT_MADE = 3
_SWAPPED: dict[Any, Any] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Is: ast.IsNot,
    ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitXor: ast.BitOr,
}  # fmt: skip
Codes = dict[tuple[str, int], types.CodeType]


class Mutant(NamedTuple):
    """A change of a function: its place, what becomes of what, the lines that it touches, and the code of the module."""

    path: str
    line: int
    function: str
    change: str
    # Among the equal ones of its function, from 1 on.
    number: int
    lines: range
    module: types.CodeType

    @property
    def key(self) -> str:
        """How it is called in the list of those that change nothing; the line's number is no part of it."""
        return f"{self.path}: {self.function}: {self.change}" + (f" [{self.number}]" if self.number > 1 else "")


# -- the mutants ------------------------------------------------------------------------------------------------------


def _mutated(node: Any, field: str) -> Iterator[ast.AST]:
    """What may stand in the place of a node, which its parent has in this field."""
    if isinstance(node, ast.Compare):
        for at, each in enumerate(node.ops):
            yield ast.Compare(node.left, [*node.ops[:at], _SWAPPED[type(each)](), *node.ops[at + 1 :]], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(_SWAPPED[type(node.op)](), node.values)
    elif isinstance(node, ast.BinOp) and type(node.op) in _SWAPPED and not isinstance(node.left, ast.JoinedStr):
        yield ast.BinOp(node.left, _SWAPPED[type(node.op)](), node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield ast.Return(ast.Constant(None))
    elif isinstance(node, (ast.Expr, ast.AugAssign, ast.Raise, ast.Delete)) or (isinstance(node, ast.Return) and node.value is None):
        yield ast.Pass()
    elif isinstance(node, (ast.Continue, ast.Break)):
        yield ast.Break() if isinstance(node, ast.Continue) else ast.Continue()
    elif isinstance(node, ast.Call) and node.keywords:
        for gone in node.keywords:
            yield ast.Call(node.func, node.args, [keyword for keyword in node.keywords if keyword is not gone])
    # A condition that is a comparison is negated by that; one that begins with `not`, too.
    if field in ("test", "ifs") and (not isinstance(node, (ast.Compare, ast.UnaryOp)) or isinstance(getattr(node, "ops", [0])[0], _ORDERS)):
        yield ast.UnaryOp(ast.Not(), node)


_ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def _slots(parent: ast.AST) -> Iterator[tuple[str, ast.AST, Callable[[ast.AST], None]]]:
    """The places in which a node has others: the field's name, what is there, and how to put another one in."""
    for name, value in ast.iter_fields(parent):
        if name in ("annotation", "returns", "decorator_list", "type_comment", "msg") or isinstance(parent, (ast.JoinedStr, ast.Assert)):
            continue
        if isinstance(value, ast.AST):
            yield name, value, functools.partial(setattr, parent, name)
        elif isinstance(value, list):
            for at, each in enumerate(value):
                if isinstance(each, ast.AST):
                    yield name, each, functools.partial(value.__setitem__, at)


def _within(function: ast.AST) -> Iterator[tuple[str, Any, Callable[[ast.AST], None]]]:
    for slot in _slots(function):
        if isinstance(function, (ast.FunctionDef, ast.Lambda)) and slot[0] == "args":
            continue
        if isinstance(slot[1], ast.Expr) and isinstance(slot[1].value, ast.Constant):
            continue
        yield slot
        yield from _within(slot[1])


def _functions(node: ast.AST, name: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """The functions that are defined at import, by qualified name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield f"{name}{child.name}", child
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{name}{child.name}.")


def mutants(path: Path) -> Iterator[Mutant]:
    """All mutants of a file."""
    label = str(path.relative_to(PROJECT))
    tree = ast.parse(path.read_bytes(), filename=str(path))
    equal: Counter[tuple[str, str]] = Counter()
    for name, function in _functions(tree):
        for field, node, put in _within(function):
            for new in _mutated(node, field):
                put(ast.fix_missing_locations(ast.copy_location(new, node)))
                try:
                    module = compile(tree, str(path), "exec", dont_inherit=True)
                finally:
                    put(node)
                line, end = node.lineno, node.end_lineno or node.lineno
                change = " ".join(f"{ast.unparse(node)} -> {ast.unparse(new)}".split())
                equal[name, change] += 1
                yield Mutant(label, line, name, change, equal[name, change], range(line, end + 1), module)


def _codes(code: types.CodeType) -> Codes:
    """All codes within one, by name and first line."""
    found: Codes = {}
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            found |= {(each.co_qualname, each.co_firstlineno): each, **_codes(each)}
    return found


# -- the tests --------------------------------------------------------------------------------------------------------


class Session:
    """The collected tests, what each runs, and the functions in memory."""

    def __init__(self, session: pytest.Session, paths: list[Path]) -> None:
        self._session = session
        self._base = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        self._numbers = itertools.count()
        for path in paths:
            importlib.import_module(".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"))
        self._live: dict[str, list[types.FunctionType]] = defaultdict(list)
        # What the collection of the tests froze is not among the objects.
        gc.unfreeze()
        for each in gc.get_objects():
            if isinstance(each, types.FunctionType) and each.__code__.co_filename.startswith(f"{PROJECT}/pvehooks/"):
                self._live[each.__code__.co_filename].append(each)
            elif isinstance(each, functools._lru_cache_wrapper) and each.__module__.startswith("pvehooks."):
                each.cache_clear()
        self._kills: dict[str, Counter[int]] = defaultdict(Counter)
        self.seconds: dict[int, float] = {}
        self.run_by: dict[str, dict[int, list[int]]] = {}
        # What is in memory by now is no child's to collect.
        gc.collect()
        gc.freeze()
        self._survey(paths)

    def _forked(self, work: Callable[[], int]) -> int:
        """Does the work in a process of its own; returns its status as os.waitstatus_to_exitcode() does."""
        directory = self._base / f"forked{next(self._numbers)}"
        directory.mkdir()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setpgid(0, 0)
                gc.disable()
                config: Any = self._session.config
                config._tmp_path_factory._basetemp = directory
                config.pluginmanager.unregister(name="terminalreporter")
                status = work()
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
        shutil.rmtree(directory, ignore_errors=True)
        return status

    def _test(self, number: int, following: int | None) -> bool:
        item, items = self._session.items[number], self._session.items
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None if following is None else items[following])
        return not self._session.testsfailed

    def _survey(self, paths: list[Path]) -> None:
        """Runs all tests once, and notes how long each takes and which lines it runs."""
        seen = self._base / "survey"
        last = len(self._session.items) - 1

        def run() -> int:
            measured = coverage.Coverage(data_file=None, include=[str(path) for path in paths])
            measured.start()
            for number in range(last + 1):
                measured.switch_context(str(number))
                began = time.monotonic()
                if not self._test(number, number + 1 if number < last else None):
                    seen.write_bytes(pickle.dumps(self._session.items[number].nodeid))
                    return 1
                self.seconds[number] = time.monotonic() - began
            measured.stop()
            data = measured.get_data()
            for path in paths:
                by_line = data.contexts_by_lineno(str(path))
                self.run_by[str(path)] = {line: sorted(int(each) for each in tests if each) for line, tests in by_line.items()}
            seen.write_bytes(pickle.dumps((self.seconds, self.run_by)))
            return 0

        if self._forked(run) != 0:
            pytest.exit(f"without any mutant a test fails: {pickle.loads(seen.read_bytes()) if seen.exists() else ''}", returncode=1)
        self.seconds, self.run_by = pickle.loads(seen.read_bytes())

    def _chosen(self, mutant: Mutant) -> list[int]:
        """The tests for a mutant: what noticed others of its function first, then the fastest."""
        lines = self.run_by[str(PROJECT / mutant.path)]
        kills = self._kills[f"{mutant.path}:{mutant.function}"]
        there = {test for line in mutant.lines for test in lines.get(line, ()) if self._can_notice(test, mutant.path)}
        found = sorted(there, key=lambda test: (-kills[test], self.seconds[test]))
        spent = itertools.accumulate(self.seconds[test] for test in found)
        return [test for test, sum_ in zip(found, spent, strict=True) if sum_ < _ENOUGH]

    def _can_notice(self, test: int, path: str) -> bool:
        """Whether a test can notice a change of a file: an example is asked for the findings of its own rule alone."""
        from pvehooks.rules.catalogue import RULES

        example = re.search(r"_example\[([\w-]+)\.", self._session.items[test].name)
        if example is None or not path.startswith("pvehooks/rules/") or path.count("/") < 3:
            return True
        return RULES[example[1]].function.__module__ == path.removesuffix(".py").replace("/", ".")

    def result(self, mutant: Mutant) -> str:
        """What became of a mutant: killed, timeout, survived, not run, or not made."""
        chosen = self._chosen(mutant)
        if not chosen:
            return "not run"
        killer = self._base / "killer"

        def run() -> int:
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            codes = _codes(mutant.module)
            for function in self._live[str(PROJECT / mutant.path)]:
                new = codes.get((function.__code__.co_qualname, function.__code__.co_firstlineno))
                if new is not None and new != function.__code__:
                    if new.co_freevars != function.__code__.co_freevars:
                        return _NOT_MADE
                    function.__code__ = new
            for test, following in itertools.pairwise((*chosen, None)):
                assert test is not None
                killer.write_text(str(test))
                signal.setitimer(signal.ITIMER_REAL, 15 + 10 * self.seconds[test])
                if not self._test(test, following):
                    return 1
            return 0

        status = self._forked(run)
        if status == _NOT_MADE:
            return "not made"
        if status != 0:
            self._kills[f"{mutant.path}:{mutant.function}"][int(killer.read_text())] += 1
        return "survived" if status == 0 else "timeout" if status == -signal.SIGALRM else "killed"


# -- pytest -----------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that names what is mutated."""
    parser.addoption("--mutate", action="append", default=[], help="a file or a folder of which mutants are made")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Takes the place of the run of the tests."""
    from tests.beds.namespace import mount

    mount("tmpfs", str(session.config._tmp_path_factory.getbasetemp()), "tmpfs", options="mode=0700")  # type: ignore[attr-defined]
    given = [PROJECT / each for each in session.config.getoption("--mutate")]
    paths = sorted({path for each in given for path in ([each] if each.is_file() else each.rglob("*.py"))})
    known = {line.split(" # ")[0] for line in KNOWN.read_text().splitlines()} if KNOWN.exists() else set()
    out = functools.partial(builtins.print, file=sys.__stderr__, flush=True)
    capture = session.config.pluginmanager.getplugin("capturemanager")
    capture.suspend_global_capture(in_=True)
    out(f"the first run of {len(session.items)} tests")
    tests = Session(session, paths)
    areas: dict[str, Counter[str]] = defaultdict(Counter)
    for path in paths:
        area = "/".join(path.relative_to(PROJECT / "pvehooks").parts[:2]).removesuffix(f"/{path.name}")
        for mutant in mutants(path):
            what = "equivalent" if mutant.key in known else tests.result(mutant)
            areas[area][what] += 1
            if what not in ("killed", "equivalent"):
                out(f"{what} (line {mutant.line}): {mutant.key}")
    failed = False
    for area, counts in areas.items():
        alive, total = counts["survived"] + counts["not run"] + counts["not made"], counts.total()
        failed |= alive > LIMIT * total
        out(
            f"{area}: {total} mutants, "
            + ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
            + f": {alive / total:.1%} survive"
        )
    session.testsfailed = int(failed)
    return True
