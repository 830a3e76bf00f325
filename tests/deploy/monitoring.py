"""The monitoring's JSON files, and the metrics that they speak of."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "monitoring"

USER_COUNTER = "dataflow.googleapis.com/job/user_counter"
LOGGED = "logging.googleapis.com/user/"

Json = dict[str, Any]


class Query(NamedTuple):
    """A query of a file, as a filter of time series or as PromQL."""

    place: str
    text: str
    group_by: tuple[str, ...] = ()


def read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def policies() -> dict[str, Json]:
    """The alert policies, by file."""
    return {path.name: read(f"alerts/{path.name}") for path in sorted(FOLDER.glob("alerts/*"))}


def log_metrics() -> dict[str, Json]:
    """The log-based metrics, by the name that queries give them."""
    return {LOGGED + metric["name"]: metric for metric in read("log_metrics.json")}


def queries() -> Iterator[Query]:
    """All of the dashboard and of the alert policies."""
    for tile in read("dashboard.json")["mosaicLayout"]["tiles"]:
        yield from _queries(tile["widget"]["title"], tile["widget"])
    for file, policy in policies().items():
        yield from _queries(file, policy["conditions"])


def _queries(place: str, node: Any) -> Iterator[Query]:
    if isinstance(node, list):
        for one in node:
            yield from _queries(place, one)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name == "filter" and "metric.type" in value:
                yield Query(place, value, _grouped(node))
            elif name in {"prometheusQuery", "query"}:
                yield Query(place, value)
            else:
                yield from _queries(place, value)


def _grouped(node: Json) -> tuple[str, ...]:
    aggregations = [node.get("aggregation", {}), *node.get("aggregations", [])]
    return tuple(label for one in aggregations for label in one.get("groupByFields", []))


def metrics_of(query: Query) -> set[str]:
    """The metrics' types; PromQL adds a suffix to those that are distributions."""
    types = re.findall(r'metric\.type="([^"]+)"|"__name__"="([^"]+)"', query.text)
    found = {filtered or named.removesuffix("_sum") for filtered, named in types}
    assert found, query
    return found


def counters_of(query: Query) -> set[str]:
    """The names of our own counters that it asks for; a connector or kind may follow each."""
    (pattern,) = re.findall(r'"metric_name"=~"([^"]+)"', query.text)
    return {name.removesuffix("[.].+") for name in pattern.split("|")}
