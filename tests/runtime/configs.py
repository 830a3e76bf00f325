"""Connectors for tests, parsed as those of a file are."""

import json
from collections.abc import Mapping
from typing import Any

from runtime.address import PUBLIC_ONLY
from runtime.connectors import Config, parse_config
from runtime.problems import Problem


def hook(name: str, **settings: Any) -> dict[str, Any]:
    """A postback to an address of its own."""
    return {"name": name, "kind": "postback", "url": f"https://{name}.example.com/", **settings}


def segment(name: str, **settings: Any) -> dict[str, Any]:
    """A Segment connector with a key of its own."""
    key = f"env:{name.upper().replace('-', '_')}_KEY"
    return {"name": name, "kind": "segment", "write_key": key, **settings}


def parse(*connectors: Mapping[str, Any]) -> tuple[Config, list[Problem]]:
    """What a file with these connectors gives."""
    return parse_config(json.dumps({"connectors": connectors}).encode(), PUBLIC_ONLY)


def config_of(*connectors: Mapping[str, Any]) -> Config:
    """The connectors, all of which are valid."""
    config, problems = parse(*connectors)
    assert not problems
    return config
