"""High availability as it is configured: /etc/pve/ha (pve-ha-manager, PVE/HA/Resources.pm, Rules/NodeAffinity.pm, Groups.pm)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from pvehooks.facts.cluster import members
from pvehooks.facts.reading import optional_of, unread
from pvehooks.formats import propertystring, sectionconfig
from pvehooks.formats.schema import HA_RESOURCES, HA_RULES
from pvehooks.formats.sectionconfig import Section
from pvehooks.host import Host
from pvehooks.values import Guest
from pvehooks.values.base import NamedTuple, Unread
from pvehooks.values.ha import Ha, HaGuest

RESOURCES = "/etc/pve/ha/resources.cfg"
RULES = "/etc/pve/ha/rules.cfg"
GROUPS = "/etc/pve/ha/groups.cfg"
DATACENTER = "/etc/pve/datacenter.cfg"
# There since PVE 9.0.
_RULES_CODE = "/usr/share/perl5/PVE/HA/Rules.pm"
_OLD_NAMES = {"enabled": "started"}
_POLICY = re.compile(r"^ha:.*\bshutdown_policy=([a-z]+)", re.MULTILINE)
_CRS = re.compile(r"^crs:(.*)$", re.MULTILINE)
_SEPARATORS = re.compile(r"[,;\s\0]+")


class _Affinity(NamedTuple):
    """A rule that ties resources to nodes."""

    # As a person would look it up.
    name: str
    resources: tuple[str, ...]
    priorities: dict[str, int]
    strict: bool
    # Whether it keeps them away from the nodes.
    negative: bool

    def allowed(self, everywhere: frozenset[str]) -> frozenset[str]:
        """The nodes that its resources may run on; a rule that is not strict leaves all."""
        nodes = frozenset(self.priorities)
        if not self.strict:
            return everywhere | nodes
        return everywhere - nodes if self.negative else nodes

    def preferred(self, everywhere: frozenset[str]) -> frozenset[str]:
        """The nodes that come first; a negative rule has no priorities."""
        if self.negative:
            return everywhere - frozenset(self.priorities)
        highest = max(self.priorities.values(), default=0)
        return frozenset(node for node, priority in self.priorities.items() if priority == highest)


def read(host: Host, node: str) -> Ha | Unread:
    """What is configured; nothing where the files are not there, as on a node that never had any."""
    texts: dict[str, bytes | None] = {}
    for path in (RESOURCES, RULES, GROUPS, DATACENTER):
        try:
            texts[path] = host.read(path)
        except FileNotFoundError:
            texts[path] = None
        except OSError as error:
            return unread(path, error)
    resources, rules, groups = (_sections(texts[path]) for path in (RESOURCES, RULES, GROUPS))
    datacenter = (texts[DATACENTER] or b"").decode("utf-8", "replace")
    policy = _POLICY.search(datacenter)
    everywhere = frozenset(members.names(host, node))
    affinities = _in_force([*_by_rules(rules), *_by_groups(groups, resources)])
    found = {
        vmid: _guest(section, affinities.get(f"vm:{vmid}"), everywhere)._replace(newer=_newer(section, rules))
        for vmid, section in _vms(resources)
    }
    has_rules = texts[GROUPS] is None or texts[RULES] is not None or host.exists(_RULES_CODE)
    return Ha(found, has_rules, policy[1] if policy else "conditional", everywhere, _rebalances(datacenter))


def _rebalances(datacenter: str) -> bool:
    """Whether automatic rebalancing is on (pve-cluster, DataCenterConfig.pm, `crs`); it is off by default."""
    crs = _CRS.search(datacenter)
    options = dict(part.strip().partition("=")[::2] for part in crs[1].split(",")) if crs else {}
    return propertystring.boolean(options.get("ha-auto-rebalance", "0")) == 1


def vmids(host: Host) -> frozenset[int]:
    """The VMs that high availability manages, none where that cannot be read."""
    raw = optional_of(host, RESOURCES)
    return frozenset() if isinstance(raw, Unread) else frozenset(vmid for vmid, _ in _vms(_sections(raw)))


def starts_at_boot(guest: Guest, of_ha: frozenset[int]) -> bool:
    """Whether the guest starts when the node does: onboot, or by high availability (`of_ha`)."""
    return guest.vmid in of_ha or bool(guest.options.get("onboot"))


def _vms(resources: tuple[Section, ...]) -> Iterator[tuple[int, Section]]:
    matching = (each for each in resources if each.type == "vm" and re.fullmatch("[1-9][0-9]{2,8}", each.name))
    return ((int(each.name), each) for each in matching)


def _sections(raw: bytes | None) -> tuple[Section, ...]:
    return sectionconfig.parse_ha(raw).sections if raw is not None else ()


def _guest(section: Section, affinity: _Affinity | None, everywhere: frozenset[str]) -> HaGuest:
    state = section.options.get("state", "started")
    state = _OLD_NAMES.get(state, state)
    rebalanced = propertystring.boolean(section.options.get("auto-rebalance", "1")) != 0
    if affinity is None:
        return HaGuest(state, everywhere, rebalanced=rebalanced)
    shared = tuple(each for each in affinity.resources if each != f"vm:{section.name}")
    return HaGuest(
        state,
        affinity.allowed(everywhere),
        affinity.preferred(everywhere),
        affinity.name,
        affinity.negative,
        tuple(affinity.priorities.items()),
        shared,
        rebalanced,
    )


def _newer(resource: Section, rules: tuple[Section, ...]) -> str:
    """What our tables do not have in a VM's own section and in the rules that name it, the first in words."""
    known = HA_RESOURCES["vm"]
    named = (
        (f"rule {rule.name}", HA_RULES.get(rule.type), rule)
        for rule in rules
        if "disable" not in rule.options and f"vm:{resource.name}" in _list(rule.options.get("resources", ""))
    )
    for name, table, section in ((f"resource vm:{resource.name}", known, resource), *named):
        if table is None:
            return f"the {name} is of the type {section.type}"
        for key, value in section.options.items():
            if key not in table or (table[key] and value not in table[key]):
                return f"the {name} has '{key} {value}'"
    return ""


def _by_rules(sections: tuple[Section, ...]) -> list[_Affinity]:
    return [
        _affinity(f"rule {each.name}", _list(each.options.get("resources", "")), each, "strict")
        for each in sections
        if each.type == "node-affinity" and "disable" not in each.options
    ]


def _by_groups(sections: tuple[Section, ...], resources: tuple[Section, ...]) -> list[_Affinity]:
    """Groups as PVE 9 reads them, each as a rule; PVE 8 means the same by them."""
    found = []
    for each in sections:
        tied = tuple(f"{resource.type}:{resource.name}" for resource in resources if resource.options.get("group") == each.name)
        if each.type == "group" and tied:
            found.append(_affinity(f"group {each.name}", tied, each, "restricted"))
    return found


def _affinity(name: str, resources: tuple[str, ...], section: Section, strict: str) -> _Affinity:
    priorities = {}
    for word in _list(section.options.get("nodes", "")):
        node, _, priority = word.partition(":")
        priorities[node] = int(priority) if priority.isdecimal() and len(priority) < 10 else 0
    negative = section.options.get("affinity") == "negative"
    return _Affinity(name, resources, priorities, propertystring.boolean(section.options.get(strict, "0")) == 1, negative)


def _list(text: str) -> tuple[str, ...]:
    return tuple(word for word in _SEPARATORS.split(text) if word)


def _in_force(affinities: list[_Affinity]) -> dict[str, _Affinity]:
    """The rule of each resource; PVE drops all rules that name one resource (NodeAffinity.pm, check_single_resource_reference)."""
    times = Counter(resource for each in affinities for resource in dict.fromkeys(each.resources))
    kept = [each for each in affinities if all(times[resource] == 1 for resource in each.resources)]
    return {resource: each for each in kept for resource in each.resources}
