"""Many nodes as one HTML file: what needs attention, the nodes, free devices, where VMs would start, what differs."""

from __future__ import annotations

from collections.abc import Iterable

from pvehooks.report import fleet as content
from pvehooks.report import frame
from pvehooks.report.fleet import Fleet, FleetNode, FreeThere, NodeFigures, Remark, SamePlaces
from pvehooks.report.frame import badge, icon, more, when
from pvehooks.report.markup import Content, Markup, join, tag
from pvehooks.values import Unread
from pvehooks.wording import and_more, counted

# Of each list so many lines are shown at once.
_SHOWN = 12
_STATES = {"ok": "good", "silent": "warning", "unreadable": "danger", "no pvehooks": "warning", "capture": "info", "report": "info"}
_TONES = {content.WOULD: "good", content.WOULD_NOT: "danger", content.MUST_NOT: "danger", content.UNKNOWN: "unknown"}
# What only this page has: rows of a name and what is said of it.
STYLE = """\
.rows{margin:.8rem 0 0;background:var(--card);border:1px solid var(--line);border-radius:.6rem}
.rows>li{display:grid;grid-template-columns:minmax(8rem,1fr) 3fr;gap:.2rem 1rem;padding:.55rem 1rem;border-bottom:1px solid var(--line);align-items:baseline}
.rows>li:last-child{border-bottom:0}
.rows p{margin:.1rem 0}
.rows b{font-weight:600}
.rows .i{color:var(--c);margin-right:.4rem}
.inside .rows{margin:0}
.card dl{display:grid;grid-template-columns:6.5rem 1fr;gap:.25rem .8rem;margin:.6rem 0 0;font-size:.9375rem}
.card dt{color:var(--soft)}
.card .badge{white-space:normal}
.card dd{min-width:0}
.card h3{font-size:1.0625rem}
h3.kind{margin:1.3rem 0 0}
@media (max-width:40rem){.rows>li{grid-template-columns:1fr;padding:.55rem .75rem}}
@media print{.rows>li{break-inside:avoid}.box.card{break-inside:avoid}}
"""


def page(fleet: Fleet) -> str:
    """The file's text."""
    parts = [
        _header(fleet),
        _remarks(fleet),
        _nodes(fleet),
        _free(fleet),
        _places(fleet),
        _differences(fleet),
        _boots(fleet),
        _failures(fleet),
    ]
    return frame.document(f"{fleet.title}: passthrough and VMs", parts, _footer(fleet), STYLE)


def _link(node: FleetNode) -> Markup:
    return tag("a", tag("bdi", node.title), href=f"#{node.anchor}")


def _age(fleet: Fleet, seconds: int) -> Markup:
    return tag("span", f"as of {fleet.ago(seconds)}", class_="soft small")


def _rows(lines: Iterable[Markup], noun: str) -> Content:
    """Rows, of which too many are behind "more"."""
    listed = list(lines)
    rest = more(tag("ul", listed[_SHOWN:], class_="rows"), len(listed) - _SHOWN, noun)
    return join(tag("ul", listed[:_SHOWN], class_="rows"), rest)


def _section(anchor: str, title: str, note: Content, *body: Content) -> Markup:
    return tag("section", tag("h2", title, id=anchor), tag("p", note, class_="soft small") if note else None, body, aria_labelledby=anchor)


# -- the head of the page ---------------------------------------------------------------------------------------------

_PLACES = (
    ("attention", "What needs attention"),
    ("nodes", "Nodes"),
    ("free", "Free devices"),
    ("starts", "Where VMs would start"),
    ("differences", "What differs"),
    ("boots", "Next boots"),
    ("failures", "Failed starts"),
)


def _header(fleet: Fleet) -> Markup:
    places = [(anchor, text) for anchor, text in _PLACES if anchor != "starts" or fleet.places is not None]
    return tag(
        "header",
        tag("p", f"pvehooks {fleet.pvehooks}, ", when(fleet.time), class_="over"),
        tag("h1", tag("bdi", fleet.title)),
        tag("p", _lead(fleet), class_="lead"),
        _figures(fleet),
        tag("nav", tag("ul", (tag("li", tag("a", text, href=f"#{anchor}")) for anchor, text in places)), aria_label="Parts of this page"),
    )


def _lead(fleet: Fleet) -> str:
    known = [figures for _, figures in fleet.known]
    text = f"{counted(len(fleet.nodes), 'node')} with {counted(sum(figures.guests for figures in known), 'VM')}."
    silent = [node.title for node in fleet.nodes if isinstance(node.known, Unread)]
    if silent:
        text += f" Nothing is known of {and_more(silent, 6)}."
    if known:
        oldest = min(figures.as_of for figures in known)
        text += f" The oldest figures are from {fleet.ago(oldest)}."
    return text


def _figures(fleet: Fleet) -> Markup:
    known = [figures for _, figures in fleet.known]
    must_not = sum(figures.must_not.total for figures in known)
    would_not = sum(figures.would_not.total for figures in known)
    passing, lacking = sum(figures.passing for figures in known), sum(figures.unguarded.total for figures in known)
    free = content.free_by_kind(fleet).get(content.KINDS[0], ())
    unwanted = sum(len(each.addresses) for each in free if not each.first.named and each.node.state not in content.OUT_OF_DATE)
    figures = [
        (must_not, "VMs must not start, nothing stops them" if must_not != 1 else "VM must not start, nothing stops it", "danger"),
        (would_not, "VMs would not start" if would_not != 1 else "VM would not start", "danger" if would_not else "good"),
        (lacking, f"of {counted(passing, 'VM')} with passed-through devices without the guard", "warning" if lacking else "good"),
        (unwanted, "graphics cards free" if unwanted != 1 else "graphics card free", "none"),
    ]
    boxes = (
        tag("div", tag("dt", words), tag("dd", str(number), icon(tone) if tone != "none" else None, class_=tone))
        for number, words, tone in (figures if must_not else figures[1:])
    )
    return tag("dl", boxes, class_="figures")


def _remarks(fleet: Fleet) -> Markup:
    found = content.remarks(fleet)
    note = "The most urgent first; what to type is to be typed on that node." if found else "Nothing."
    return _section("attention", "What needs attention", note, _rows(map(_remark, found), "line") if found else None)


def _remark(remark: Remark) -> Markup:
    command = tag("p", tag("code", remark.command), class_="small") if remark.command else None
    return tag("li", tag("b", _link(remark.node)), tag("div", tag("p", icon(remark.tone), remark.text), command), class_=remark.tone)


# -- nodes ------------------------------------------------------------------------------------------------------------


def _nodes(fleet: Fleet) -> Markup:
    return _section("nodes", "Nodes", None, tag("div", (_node(fleet, node) for node in fleet.nodes), class_="boxes"))


def _node(fleet: Fleet, node: FleetNode) -> Markup:
    known = node.known
    head = tag("header", tag("h3", tag("bdi", node.title)), badge(_STATES.get(node.state, "unknown"), node.state))
    if isinstance(known, Unread):
        body: Content = tag("p", known.why, class_="state")
    else:
        body = join(tag("p", _age(fleet, known.as_of), class_="state"), _facts(fleet, node, known))
    return tag("div", head, body, class_="box card", id=node.anchor)


def _facts(fleet: Fleet, node: FleetNode, known: NodeFigures) -> Markup:
    rows: list[tuple[str, Content]] = [
        ("VMs", str(known.guests)),
        ("Starts", _starts(node, known)),
        ("Guard", _guard(known)),
        ("rng0", _rng0(known)),
        ("Devices", _devices(fleet, known)),
        ("Next boot", _boot(fleet, known)),
        ("Versions", _versions(node, known)),
    ]
    return tag("dl", (join(tag("dt", name), tag("dd", text)) for name, text in rows))


def _unknown(why: Unread) -> Markup:
    return tag("span", why.why, class_="soft")


def _starts(node: FleetNode, known: NodeFigures) -> Content:
    lines = [
        badge("danger", f"{some.total} {words}")
        for some, words in ((known.must_not, "must not start"), (known.would_not, "would not start"))
        if some.total
    ]
    return [join(line, " ") for line in lines] or badge(
        "unknown" if node.state in content.OUT_OF_DATE else "good", "all would start" if known.guests else "no VMs"
    )


def _guard(known: NodeFigures) -> Content:
    mode = "" if isinstance(known.guard_mode, Unread) or known.guard_mode == "enforce" else f", [guard] mode = {known.guard_mode}"
    if not known.passing:
        return f"no VM needs it{mode}"
    lacking = known.unguarded.total
    tone = "warning" if lacking or mode else "good"
    return badge(tone, f"{known.passing - lacking} of {known.passing}{mode}")


def _rng0(known: NodeFigures) -> Content:
    if isinstance(known.rng_lacking, Unread) or isinstance(known.rng_given, Unread):
        return _unknown(known.rng_lacking) if isinstance(known.rng_lacking, Unread) else None
    lacking = known.rng_lacking.total
    given = f"{known.rng_given} given" if known.rng_given else "none given"
    return badge("warning", f"{counted(lacking, 'VM')} without") if lacking else f"{given}, none lacks one"


def _devices(fleet: Fleet, known: NodeFigures) -> Content:
    if isinstance(known.free, Unread):
        return _unknown(known.free)
    left_out = f", {counted(known.left_out, 'device')} not described" if known.left_out else ""
    age = "" if isinstance(known.devices_as_of, Unread) else f" ({fleet.ago(known.devices_as_of)})"
    return f"{len(known.free)} free to be passed through{left_out}{age}"


def _boot(fleet: Fleet, known: NodeFigures) -> Content:
    boot = known.next_boot
    if isinstance(boot, Unread):
        return _unknown(boot)
    tone = "good" if boot.well else "danger" if boot.stops or boot.will_not or boot.must_not else "warning"
    return join(badge(tone, "well" if boot.well else "trouble"), f" {fleet.ago(boot.looked)}")


def _versions(node: FleetNode, known: NodeFigures) -> Content:
    parts = [f"pvehooks {node.version or 'of an unknown version'}"]
    parts += [
        f"{name} {value}" for name, value in (("PVE", known.pve), ("kernel", known.kernel)) if not isinstance(value, Unread) and value
    ]
    if isinstance(known.next_kernel, str) and known.next_kernel:
        parts.append(f"{known.next_kernel} is next")
    return "; ".join(parts)


# -- free devices -----------------------------------------------------------------------------------------------------


def _free(fleet: Fleet) -> Markup:
    found = content.free_by_kind(fleet)
    parts = [
        join(
            tag("h3", f"{kind[0].upper()}{kind[1:]}: {sum(len(each.addresses) for each in listed)}", class_="kind"),
            _rows((_there(fleet, each) for each in listed), "line"),
        )
        for kind, listed in found.items()
    ]
    note = "A whole IOMMU group that could be passed through now without harm, as its node last looked." if found else "None is known."
    return _section("free", "Free devices", note, parts)


def _there(fleet: Fleet, each: FreeThere) -> Markup:
    first = each.first
    beside = f", with {and_more(list(dict.fromkeys(first.beside)), 3)}" if first.beside else ""
    addresses = f"{len(each.addresses)}: {and_more(list(each.addresses), 3)}" if len(each.addresses) > 1 else each.addresses[0]
    words = tag("p", tag("b", first.words), ", virtual function" if first.virtual else None, beside)
    named = (
        tag("p", icon("warning"), f"not running now, but named by {and_more(list(first.named), 4)}", class_="small warning")
        if first.named
        else None
    )
    place = tag("p", tag("code", addresses), " ", _age(fleet, each.as_of), class_="small")
    state = join(" ", badge(_STATES.get(each.node.state, "unknown"), each.node.state)) if each.node.state in content.OUT_OF_DATE else None
    return tag("li", tag("b", _link(each.node), state), tag("div", words, place, named))


# -- where VMs would start --------------------------------------------------------------------------------------------


def _places(fleet: Fleet) -> Markup | None:
    if fleet.places is None:
        return None
    note = "By what each node published; its free memory is not known. Those that would start on the fewest nodes come first."
    if fleet.places_left_out:
        note += f" {counted(fleet.places_left_out, 'VM')} more: pvehooks check --target NODE"
    if not fleet.places:
        note = "There is no other node, or no VM."
    nodes = {node.name: node for node in fleet.nodes}
    lines = [_same(same, nodes) for same in content.same_places(fleet)]
    return _section("starts", "Where VMs would start", note, _rows(lines, "line") if lines else None)


def _same(same: SamePlaces, nodes: dict[str, FleetNode]) -> Markup:
    home = tag("p", "now on ", _link(nodes[same.home]), class_="soft small")
    would = f"on {and_more(list(same.would), 20)}" if same.would else "on no other node"
    lines = [tag("p", badge("good" if same.would else "none", content.WOULD), f" {would}")]
    for start, rule, there, why in same.others:
        reason = tag("p", why, " [", tag("code", rule), "]", class_="soft small") if rule else None
        lines.append(join(tag("p", badge(_TONES[start], start), f" on {and_more(list(there), 20)}"), reason))
    return tag("li", tag("div", tag("b", tag("bdi", same.who)), home), tag("div", lines))


# -- what differs, next boots, failed starts --------------------------------------------------------------------------


def _differences(fleet: Fleet) -> Markup:
    found = content.differences(fleet)
    titles = {node.title: node for node in fleet.nodes}
    lines = [
        tag(
            "li",
            tag("b", tag("bdi", each.name)),
            tag("div", (tag("p", tag("bdi", value), ": ", _links([titles[title] for title in there])) for value, there in each.values)),
        )
        for each in found
    ]
    silent = [node.title for node, known in fleet.known if isinstance(known.own_settings, Unread)]
    note = (
        "Versions and settings; what is the same on all nodes that publish it is not shown."
        if found
        else "Nothing of what the nodes publish."
    )
    note += f" Not published by {and_more(silent, 6)}: the node's own settings." if silent else ""
    return _section("differences", "What differs between nodes", note, _rows(lines, "line") if lines else None)


def _links(nodes: list[FleetNode]) -> Content:
    rest = f" and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else None
    return [join(", " if number else None, _link(node)) for number, node in enumerate(nodes[:_SHOWN])] + [join(rest)]


def _boots(fleet: Fleet) -> Markup:
    lines = [
        tag(
            "li",
            tag("b", _link(node)),
            tag(
                "div",
                tag(
                    "p",
                    icon("good" if boot.well else "danger" if boot.stops or boot.will_not or boot.must_not else "warning"),
                    f"kernel {boot.kernel}: {content.next_boot_phrase(known)}",
                ),
                tag("p", _age(fleet, boot.looked)),
                class_="good" if boot.well else "danger",
            ),
        )
        for node, known in fleet.known
        if not isinstance(boot := known.next_boot, Unread)
    ]
    silent = [node.title for node, known in fleet.known if isinstance(known.next_boot, Unread)]
    note = "What the last look at each node's next boot found: after an installation of a kernel, or by pvehooks host check --next-boot."
    note += f" Not looked at, or not published: {and_more(silent, 6)}." if silent else ""
    return _section("boots", "Next boots", note, _rows(lines, "node") if lines else None)


def _failures(fleet: Fleet) -> Markup:
    found = sorted(((each, node) for node, known in fleet.known for each in known.failures), key=lambda pair: -pair[0].ended)
    lines = [
        tag(
            "li",
            tag("div", tag("b", tag("bdi", each.label)), tag("p", "on ", _link(node), class_="soft small")),
            tag("div", tag("p", each.why), tag("p", when(each.ended), f", {fleet.ago(each.ended)}", class_="soft small")),
        )
        for each, node in found
    ]
    total = sum(known.failed for _, known in fleet.known if not isinstance(known.failed, Unread))
    note = "VMs whose last start failed, of each node the latest. More, on that node: pvehooks why VMID" if found else "None is known."
    note += f" There are {total} in all." if total > len(found) else ""
    return _section("failures", "Failed starts", note, _rows(lines, "line") if lines else None)


def _footer(fleet: Fleet) -> Content:
    skipped = tag("ul", (tag("li", tag("b", tag("bdi", each.file)), f": {each.why}") for each in fleet.skipped))
    return (
        join(tag("h2", "About the files", id="files"), skipped) if fleet.skipped else None,
        tag(
            "p",
            f"Made by pvehooks {fleet.pvehooks}{f' on {fleet.node}' if fleet.node else ''}. This file loads nothing and runs no scripts."
            " It names VMs, devices and addresses: give it only to people who may know them.",
        ),
    )
