"""The ConfigStore: the connectors as they are now, read again every so often; one a process."""

import logging
import time
from collections.abc import Iterator, Sequence

from runtime.address import AddressPolicy
from runtime.connectors import (
    Config,
    ConfigError,
    ConnectorEntry,
    of_all_app_groups,
    read_config,
    with_historical,
)
from runtime.problems import Problem
from runtime.repeating import Repeating
from runtime.storage import modified_seconds

_logger = logging.getLogger(__name__)


SETTLED_SECONDS = 1.0
"""A local file that was written to within this time may be half written: half a YAML file is a valid
one of fewer connectors."""


class ConfigStore:
    """Holds the current `Config`; an edit that does not validate is refused per connector.

    `throughout` has the connectors that have been there, for all app groups, in every version: no
    others can be expected to have been offered all that was read.
    """

    def __init__(
        self,
        uri: str,
        policy: AddressPolicy,
        refresh_seconds: float,
        historical: bool = False,
    ) -> None:
        """Read the file.

        Args:
            uri: where it is.
            policy: which addresses partners may have.
            refresh_seconds: how often it is read again, once it is followed.
            historical: whether partners with a way of their own for old events take them there.

        Raises:
            ConfigError: it cannot be read, or one of its connectors is not valid.
        """
        self._uri = uri
        self._policy = policy
        self._historical = historical
        self._config, problems = self._read()
        if problems:
            raise ConfigError(problems)
        self.throughout = of_all_app_groups(self._config)
        self._refused: tuple[Problem, ...] = ()
        self._repeating = Repeating("config", refresh_seconds, self.refresh)

    def current(self) -> Config:
        return self._config

    def follow(self) -> None:
        """Begin to read the file again every so often, on a thread of its own."""
        self._repeating.start()

    def close(self) -> None:
        self._repeating.close()

    def refresh(self) -> None:
        """Read the file now; what is not valid in it stays as it was, and the log says so."""
        time.sleep(_seconds_until_settled(self._uri))
        try:
            config, problems = self._read()
        except ConfigError as error:
            self._log(error.problems)
            return
        self._log(tuple(problems))
        kept = _kept(problems, self._config, config)
        if config.version != self._config.version:
            self._take(Config(config.version, {**kept, **config.connectors}))

    def _take(self, config: Config) -> None:
        for line in _changes(self._config, config):
            _logger.info("%s", line)
        self._config = config
        self.throughout &= of_all_app_groups(config)

    def _read(self) -> tuple[Config, list[Problem]]:
        config, problems = read_config(self._uri, self._policy)
        return with_historical(config) if self._historical else config, problems

    def _log(self, problems: tuple[Problem, ...]) -> None:
        """Say what is wrong with an edit, once and not at every reading."""
        if problems != self._refused:
            self._refused = problems
            for problem in problems:
                known = not problem.connector or _is_of(self._config, problem)
                _logger.error(_REFUSED if known else _OF_NOBODY, problem)


_REFUSED = "the edit is refused, the last good settings stay: %s"
_OF_NOBODY = "this is refused, and no connector is removed until the file is valid: %s"


def _seconds_until_settled(uri: str) -> float:
    written = modified_seconds(uri)
    return (
        0
        if written is None
        else max(0.0, min(SETTLED_SECONDS, written + SETTLED_SECONDS - time.time()))
    )


def _changes(before: Config, after: Config) -> Iterator[str]:
    """What an edit does, for the log: a connector that is removed by mistake is seen there."""
    for name in before.connectors.keys() | after.connectors.keys():
        old, new = before.connectors.get(name), after.connectors.get(name)
        if new is None:
            yield f"connector {name!r} is removed"
        elif old is None:
            yield f"connector {name!r} is added"
        elif old.settings != new.settings:
            yield f"connector {name!r} is changed"


def _is_of(config: Config, problem: Problem) -> bool:
    """Whether it is the problem of a connector that is known; of whose, a wrong name does not say."""
    return problem.connector in config.connectors and problem.field != "name"


def _kept(problems: Sequence[Problem], before: Config, now: Config) -> dict[str, ConnectorEntry]:
    """The last good settings of the connectors whose edit is refused.

    Those of all, where it cannot be told whose edit it was; but of none that was renamed: its place
    and key are another connector's now.
    """
    refused = {problem.connector for problem in problems} & before.connectors.keys()
    kept = {name: before.connectors[name] for name in refused}
    if all(_is_of(before, problem) for problem in problems):
        return kept
    taken = {identity for entry in now.connectors.values() for identity in _identities(entry)}
    others = {
        name: entry
        for name, entry in before.connectors.items()
        if taken.isdisjoint(_identities(entry))
    }
    return {**others, **kept}


def _identities(entry: ConnectorEntry) -> set[tuple[str, str]]:
    """What no other connector may share with it."""
    settings = entry.settings
    if settings.allow_duplicate:
        return set()
    return {(settings.kind, identity) for identity in settings.identities()}
