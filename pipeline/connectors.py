"""The connectors file as the commands take it."""

import json

import msgspec

from pipeline.exits import UsageError
from runtime.address import AddressPolicy
from runtime.connectors import (
    Config,
    ConfigError,
    ConnectorEntry,
    connectors_schema,
    read_config,
)
from runtime.problems import Problem
from runtime.storage import StorageError, read_file


def read_connectors(uri: str, policy: AddressPolicy) -> tuple[Config | None, list[Problem]]:
    """What is valid of a connectors file, and what is wrong with it."""
    try:
        return read_config(uri, policy)
    except ConfigError as error:
        return None, list(error.problems)


def valid_config(uri: str, policy: AddressPolicy) -> Config:
    """The connectors of a file.

    Raises:
        UsageError: something is wrong with it.
    """
    config, problems = read_connectors(uri, policy)
    if config is None or problems:
        raise UsageError("\n".join(map(str, problems)))
    return config


def entry_of(config: Config, connector: str) -> ConnectorEntry:
    """A connector by its name.

    Raises:
        UsageError: there is none of this name.
    """
    if connector not in config.connectors:
        known = ", ".join(config.connectors) or "none"
        raise UsageError(f"there is no connector {connector!r}; there are: {known}")
    return config.connectors[connector]


class _Named(msgspec.Struct):
    name: str = ""


class _Document(msgspec.Struct):
    connectors: list[_Named] = []


def names_in(uri: str) -> list[str]:
    """The names of a file's connectors; none where it cannot be read: a completion says nothing."""
    try:
        document = msgspec.yaml.decode(read_file(uri), type=_Document)
    except (StorageError, msgspec.MsgspecError, UnicodeDecodeError):
        return []
    return [connector.name for connector in document.connectors]


def schema_text() -> str:
    """The JSON Schema of the file."""
    return json.dumps(connectors_schema(), indent=2)
