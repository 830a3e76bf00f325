"""Routing: which connectors an event is offered to, and which of them filter it.

What depends on the app group and the event type alone is worked out once for all such events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.connectors import Config, ConnectorEntry
from schemas.catalogue import canonical_event_type
from sinks.sink import Filtered

_MAX_PLANS = 20_000
"""Event types and app groups come from messages: the memory for them is bounded."""


@dataclass(frozen=True, slots=True)
class Route:
    """How one connector takes the events of a plan."""

    connector: str
    entry: ConnectorEntry
    app_ids: frozenset[str] | None
    leaves_out_anonymous: bool
    supported: bool


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """What happens to events of one app group and event type; compared by identity."""

    event_type: str
    """The canonical spelling."""
    offered: Sequence[str]
    """Connectors that are offered such events."""
    filtered: Mapping[str, Filtered]
    """Connectors that filter all of them, and why."""
    routes: Sequence[Route]
    """The connectors for which the rest of the event decides."""
    looks_at_each: bool
    """Whether one of them looks at more of an event than its type, app, platform, and whether its user is
    named."""


class Router:
    """Finds the plan of an event; made anew for each version of the connectors."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._of_all: list[ConnectorEntry] = []
        self._by_group: dict[str, list[ConnectorEntry]] = {}
        for entry in config.connectors.values():
            groups = entry.settings.app_group_ids
            if groups is None:
                self._of_all.append(entry)
            for group in dict.fromkeys(groups or ()):
                self._by_group.setdefault(group, []).append(entry)
        self._plans: dict[tuple[str | None, str], Plan] = {}
        self._only: dict[str, Router] = {}

    def only(self, connector: str) -> "Router":
        """A router that knows this one connector, or none where it is no more."""
        found = self._only.get(connector)
        if found is None:
            entry = self.config.connectors.get(connector)
            known = {connector: entry} if entry else {}
            found = self._only[connector] = Router(Config(self.config.version, known))
        return found

    def plan(self, app_group: str | None, event_type: str) -> Plan:
        """The plan for an app group (or none) and an event type as it is spelled in the event."""
        if app_group not in self._by_group:  # it comes from a message, and may be anything
            app_group = None
        found = self._plans.get((app_group, event_type))
        if found is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            found = self._plans[app_group, event_type] = self._make(app_group, event_type)
        return found

    def _make(self, app_group: str | None, spelling: str) -> Plan:
        event_type = canonical_event_type(spelling)
        entries = self._of_all
        if app_group is not None:
            entries = [*entries, *self._by_group[app_group]]
        filtered = {
            entry.settings.name: reason
            for entry in entries
            if (reason := _always_filtered(entry, event_type)) is not None
        }
        routed = [entry for entry in entries if entry.settings.name not in filtered]
        return Plan(
            event_type,
            [entry.settings.name for entry in entries],
            filtered,
            [_route(entry, event_type) for entry in routed],
            any(entry.settings.shards > 1 or entry.sink.places_by_time for entry in routed),
        )


def _always_filtered(entry: ConnectorEntry, event_type: str) -> Filtered | None:
    if not entry.settings.enabled:
        return Filtered.DISABLED
    return None if entry.selects(event_type) else Filtered.EVENT_TYPE


def _route(entry: ConnectorEntry, event_type: str) -> Route:
    app_ids = entry.settings.app_ids
    return Route(
        entry.settings.name,
        entry,
        None if app_ids is None else frozenset(app_ids),
        entry.sink.leaves_out_anonymous,
        entry.sink.supports(event_type),
    )
