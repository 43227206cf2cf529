"""Fixtures: a suite's builds, and nodes that boot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.node.builds import Builds
from tests.node.machine import Machine
from tests.node.trees import SUITES, make_node_tree

MakeNode = Callable[..., Machine]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test runs for both suites, or for those of its module; the processes of pytest-xdist take a suite each."""
    if "suite" in metafunc.fixturenames:
        suites = getattr(metafunc.module, "SUITES", SUITES)
        marked = [pytest.param(suite, marks=pytest.mark.xdist_group(suite)) for suite in suites]
        metafunc.parametrize("suite", marked, scope="session")


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def builds(suite: str, tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return Builds(suite, tmp_path_factory.mktemp(f"builds-{suite}"))


@pytest.fixture(scope="session")
def node_tree(suite: str, builds: Builds) -> Path:
    """A system without the package; what that depends on lies where apt has its downloads."""
    return make_node_tree(suite, builds.deb)


@pytest.fixture
def make_node(node_tree: Path, builds: Builds) -> Iterator[MakeNode]:
    """make_node(PACKAGE): a booted node whose apt knows a repository with that (the package, if none is named)."""
    with ExitStack() as open_nodes:

        def make(package: Path | None = None, **details: Any) -> Machine:
            machine = open_nodes.enter_context(Machine(node_tree, **details))
            machine.offer(builds.repository(package or builds.deb))
            machine.add_repository()
            return machine

        yield make


@pytest.fixture
def node(make_node: MakeNode) -> Machine:
    """A booted node on which the package was installed from its repository."""
    machine = make_node()
    machine.install()
    machine.wait_active()
    return machine
