"""JSON that the command line prints, against its schema: nothing may be missing, and nothing be there that is not described."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache

from jsonschema import Draft202012Validator

from pvehooks.cli import parsers
from scripts.docs import schema

JSON_LINES = "check-format-jsonl"


def timeless(text: str) -> str:
    """The text with WHEN for the time of each document."""
    return re.sub(r'^  "time": ".*"', '  "time": "WHEN"', text, flags=re.MULTILINE)


def is_json(arguments: Sequence[str]) -> bool:
    """Whether JSON is asked for."""
    return bool({"--json", "json", "jsonl", "--format=json", "--format=jsonl"}.intersection(arguments))


def command_of(words: Sequence[str]) -> tuple[str, ...]:
    """The verb, with its action, that words of a command line name; () for none."""
    known = _commands()
    plain = [word for word in words if not word.startswith("-")]
    found = [command for command in known if tuple(plain[: len(command)]) == command]
    return found[0] if found else ()


@cache
def _commands() -> tuple[tuple[str, ...], ...]:
    # Found by listing directories; thousands of tests ask.
    return parsers.commands()


@cache
def candidates(command: tuple[str, ...]) -> list[str]:
    """The documents that the command prints, as they are called."""
    return [each for each in schema.documents() if command_of(each.split()[1:]) == command]


def validate(arguments: Sequence[str], text: str) -> None:
    """Raises AssertionError for what is on standard output, '' where the command was refused."""
    command = command_of(arguments)
    if not text or not command or text.startswith("usage:"):
        return
    lines = "jsonl" in arguments or "--format=jsonl" in arguments
    for part in text.splitlines() if lines else [text]:
        document = json.loads(part)
        errors = {name: found for name in map(schema.name_of, candidates(command)) if (found := errors_of(document, name))}
        tried = [name for name in map(schema.name_of, candidates(command)) if (name == JSON_LINES) == lines]
        assert any(name not in errors for name in tried), (errors, part)


def errors_of(document: object, name: str) -> list[str]:
    """What is not as the schema of that name says."""
    return [f"{error.json_path}: {error.message}" for error in _validator(name).iter_errors(document)]


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema.schema(strict=True)["$defs"]})
