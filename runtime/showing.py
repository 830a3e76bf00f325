"""Requests as people read them: credentials spelled out where they are encoded, files opened."""

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import fastavro
import msgspec
from msgspec import Raw

from sinks.sink import FileWrite, HttpRequest, Request


def shown(request: Request) -> Mapping[str, Any]:
    """A request as a JSON object; a body keeps its spelling, secrets are whatever it was packed with."""
    return _file(request) if isinstance(request, FileWrite) else _exchange(request)


def placeholders(references: tuple[str, ...]) -> dict[str, str]:
    """In place of the values of secrets: each is its reference in angle brackets."""
    return {reference: f"<{reference}>" for reference in references}


def pretty(value: Any) -> str:
    """The value as JSON for people; what is raw keeps its spelling."""
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:  # a file's name that is no UTF-8
        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
        encoded = text.encode("utf-8", "replace")
    return msgspec.json.format(encoded, indent=2).decode()


def printable(text: str) -> str:
    """The text without what a terminal would obey: whatever an event or a partner says is printed."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _exchange(request: HttpRequest) -> Mapping[str, Any]:
    return {
        "method": request.method,
        "url": request.url,
        "headers": {name: _readable(value) for name, value in request.headers.items()},
        "body": Raw(request.body),
    }


def _readable(header: str) -> str:
    """The header, its user and password spelled out where they are encoded (RFC 7617)."""
    scheme, _, encoded = header.partition(" ")
    return f"Basic {base64.b64decode(encoded).decode()}" if scheme == "Basic" else header


def _file(file: FileWrite) -> Mapping[str, Any]:
    reader = fastavro.reader(io.BytesIO(file.body))
    schema: Any = reader.writer_schema
    return {
        "path": file.path,
        "credentials": file.credentials,
        "codec": reader.codec,
        "schema": {
            "record": schema["name"],
            "fields": {field["name"]: _field(field) for field in schema["fields"]},
        },
        "records": list(reader),
    }


def _field(field: Mapping[str, Any]) -> str:
    """A field's type in a line, such as `null | array<string> = null`."""
    default = f" = {json.dumps(field['default'])}" if "default" in field else ""
    return _type(field["type"]) + default


def _type(avro_type: Any) -> str:
    if isinstance(avro_type, list):
        return " | ".join(map(_type, avro_type))
    return f"array<{_type(avro_type['items'])}>" if isinstance(avro_type, dict) else str(avro_type)
