"""Making a capture: look at everything, take what was read, disguise it, and look again whether the capture shows the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pvehooks import __version__
from pvehooks.capture import archive, collect, replay
from pvehooks.capture.record import Recording, RecordingHost, Thing
from pvehooks.capture.redact import places, secrets
from pvehooks.capture.redact.disguise import Disguise, Stays
from pvehooks.capture.redact.rewriting import Rewriting

LOCAL = "/etc/pve/local"
_PLAIN = "plain: names, addresses and serial numbers are as they are; keys, passwords, descriptions and comments are not in it"
_DISGUISED = "names, addresses, serial numbers and UUIDs are replaced, the same one always by the same one; keys, passwords, descriptions and comments are not in it"


class Made(NamedTuple):
    """A capture: its things, the name that the node has in it, what no tree holds, what the look found, and the disguise (None if plain)."""

    things: dict[str, Thing]
    node: str
    facts: dict[str, Any]
    seen: collect.LookResult
    disguise: Disguise | None


class Look(NamedTuple):
    """A look at a node, and what was asked of it meanwhile."""

    node: str
    recording: Recording
    seen: collect.LookResult


def look(root: str, node: str) -> Look:
    """Looks at the node, or at a tree."""
    host = RecordingHost(root)
    seen = collect.at_everything(host, node)
    return Look(node, host.recording, seen)


def made(look: Look, plain: bool, key: bytes) -> Made:
    """A capture of what was looked at; `key` decides what is replaced by what, and is to be forgotten."""
    node, recording, seen = look
    kept = collect.files_of(recording)
    local = Thing("link", None, f"nodes/{node}")
    kept.things.setdefault(LOCAL, local)
    kept.things.setdefault("/etc/pve", Thing("dir"))
    kept.things.setdefault("/etc", Thing("dir"))
    disguise = None if plain else Disguise(key)
    if disguise is None:
        things, name = _with_digests(kept.things, kept.digests), node
        texts = _Texts(recording, {path: thing.content or b"" for path, thing in things.items()}, None)
        facts = _facts(recording, things, name, lambda path: path, texts)
    else:
        disguise.digests = kept.digests
        rewriting = Rewriting(kept.things, disguise)
        things, name = rewriting.disguised(), disguise.text(node, strict=True)
        contents = {path: things[rewriting.path(path)].content or b"" for path in kept.things}
        facts = _facts(recording, kept.things, name, rewriting.path, _Texts(recording, contents, disguise))
    notes = [*kept.notes, *(f"the look at {trouble}" for trouble in seen.troubles)]
    notes = [_decoded(secrets.without_secrets(note.encode("utf-8", "surrogateescape"))) for note in notes]
    notes = notes if disguise is None else [disguise.text(note, strict=True) for note in notes]
    things[replay.FACTS] = Thing("file", json.dumps(facts, indent=1).encode() + b"\n")
    things[archive.MANIFEST] = Thing("file", manifest(things, facts, notes, plain))
    return Made(things, name, facts, seen, disguise)


def packed(capture: Made) -> bytes:
    """The file's bytes."""
    modes = {path: values[0] for path, values in capture.facts["attributes"].items()}
    return archive.packed(capture.things, modes, capture.facts["modified"], capture.facts["time"])


def _with_digests(things: dict[str, Thing], digests: dict[str, str]) -> dict[str, Thing]:
    """The same where records name contents that are others now."""
    found = dict(things)
    for path, thing in things.items():
        content = thing.content
        if content and path.startswith("/etc/pve/pvehooks/"):
            for before, now in digests.items():
                content = content.replace(before.encode(), now.encode())
            found[path] = thing._replace(content=content)
    return found


class _Texts:
    """What stands for the words of a command line, and for its answer: for a file's text what the file is now."""

    def __init__(self, recording: Recording, contents: Mapping[str, bytes], disguise: Disguise | None) -> None:
        before = ((path, thing.content) for path, thing in recording.things.items() if thing.content and path in contents)
        self._files = {_decoded(content): _decoded(contents[path]) for path, content in before}
        self._disguise = disguise

    def word(self, word: str) -> str:
        """Of a command line; our own words stay."""
        known = self._files.get(word)
        return known if known is not None else self._disguise.text(word) if self._disguise else word

    def answer(self, text: str, stays: Stays = places.parameters) -> str:
        """What a command said, which may be anything."""
        harmless = _decoded(secrets.without_secrets(text.encode("utf-8", "surrogateescape")))
        return self._disguise.text(harmless, True, stays) if self._disguise else harmless


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _facts(recording: Recording, things: dict[str, Thing], node: str, path: Callable[[str], str], texts: _Texts) -> dict[str, Any]:
    """What the tree cannot hold of what is taken."""

    def taken_of(values: dict[str, Any]) -> dict[str, Any]:
        return {path(each): value for each, value in values.items() if each in things}

    document = replay.document(recording, node)
    errors = ((key.partition(" "), number) for key, number in recording.errors.items())
    kept = (((access, where), number) for (access, _, where), number in errors if where in things or not secrets.is_hidden(where))
    document["errors"] = {f"{access} {path(where)}": number for (access, where), number in kept}
    document.update({name: taken_of(document[name]) for name in ("attributes", "modified", "sizes")})
    document["acls"] = sorted(path(each) for each in recording.acls if each in things)
    for command in document["commands"]:
        stays = places.of_causes if command["argv"][:2] == ["journalctl", "--dmesg"] else places.parameters
        command["argv"] = [texts.word(word) for word in command["argv"]]
        command["done"] = [command["done"][0], *(texts.answer(each, stays) for each in command["done"][1:])] if command["done"] else None
        command["trouble"] = texts.answer(command["trouble"])
    return document


def manifest(things: dict[str, Thing], facts: dict[str, Any], notes: list[str], plain: bool) -> bytes:
    """What is inside, for a person who looks before sending it."""
    files = {path: thing for path, thing in things.items() if thing.kind != "dir"}
    lines = [
        f"A capture by pvehooks {__version__} of the node {facts['node']}: what its rules read, as a tree. Look at it: pvehooks check --root FILE",
        f"It is {_PLAIN}." if plain else f"In it {_DISGUISED}.",
        "",
        *(f"note: {note}" for note in notes),
        *(
            f"{len(thing.content or b''):9} {path}" if thing.kind == "file" else f"     link {path} -> {thing.text}"
            for path, thing in sorted(files.items())
        ),
    ]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


def compared(capture: Made, directory: str) -> list[str]:
    """The findings in which an unpacked capture differs from its node, a line each."""
    again = collect.at_everything(replay.host_at(directory), capture.node)
    before, now = _counted(capture.seen), _counted(again)
    lost = [f"{_subject(vmid)}: {rule} ({severity}) is missing in the capture" for vmid, rule, severity in (before - now).elements()]
    return [*lost, *(f"{_subject(vmid)}: {rule} ({severity}) is only in the capture" for vmid, rule, severity in (now - before).elements())]


def _counted(seen: collect.LookResult) -> Counter[tuple[int, str, str]]:
    return Counter((vmid, finding.rule, finding.severity.value if finding.examined else "not examined") for vmid, finding in seen.findings)


def _subject(vmid: int) -> str:
    return f"VM {vmid}" if vmid else "the node"
