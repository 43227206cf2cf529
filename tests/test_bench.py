"""The bench: what one measure mounts or leaves behind is nothing to the next."""

from __future__ import annotations

import subprocess

import pytest

from tests.bench import __main__ as bench


def test_each_measure_has_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], env: dict[str, str], check: bool) -> subprocess.CompletedProcess[str]:
        ran.append((command, env))
        return subprocess.CompletedProcess(command, 1 if "guard" in command else 0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert bench.main(["guard", "scan"]) == 1
    assert [command[1:] for command, _ in ran] == [["-m", "tests.bench", "--alone", name] for name in ("guard", "scan")]
    assert all("PYTHONPYCACHEPREFIX" in env and "PYTHONDONTWRITEBYTECODE" not in env for _, env in ran)
    assert bench.main(["scan"]) == 0
    with pytest.raises(SystemExit, match="there is no measure nothing"):
        bench.main(["scan", "nothing"])
