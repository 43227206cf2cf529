"""A rule that waits for options finds nothing in a guest without them, so that an audit need not ask it.

The same is asserted of any config in test_any_guest.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts import hardware
from pvehooks.facts.cluster import nodes
from pvehooks.facts.guests import configs
from pvehooks.formats.schema import OPTIONS
from pvehooks.rules import catalogue
from tests.rules.asked import findings_of, rules_about
from tests.rules.example_tree import tree_of

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.txtar"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name[:-6])
def test_no_example_has_more(example: Path, tmp_path: Path) -> None:
    host = tree_of(example, tmp_path)
    node = hardware.gather(host, "pve1")
    around = configs.gather_context(host, "pve1", None)
    for vmid in nodes.guest_ids_or_none(host, "pve1"):
        guest = configs.read(host, "pve1", vmid, around)
        assert catalogue.findings(guest, node) == findings_of(rules_about(guest), guest, node)


def test_rules_wait_for_options_that_exist() -> None:
    known = {name.rstrip("0123456789") for name in OPTIONS}
    waiting = {rule.id: rule.options for rule in catalogue.RULES.values() if rule.options is not None}
    assert {rule: options - known for rule, options in waiting.items() if options - known} == {}
    assert len(waiting) >= 20


def test_one_that_waits_for_the_wrong_option_is_noticed(tmp_path: Path) -> None:
    host = tree_of(next(path for path in EXAMPLES if path.name.startswith("rng-unlimited.failing")), tmp_path)
    guest = configs.read(host, "pve1", 100, configs.gather_context(host, "pve1", None))
    rule = catalogue.RULES["rng-unlimited"]
    assert catalogue.looks_at(rule, catalogue.families(guest))
    assert not catalogue.looks_at(rule._replace(options=frozenset({"serial"})), catalogue.families(guest))
