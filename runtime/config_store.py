"""The ConfigStore: the connectors as they are now, read again every so often; one a process."""

import logging
from collections.abc import Iterable

from runtime.address import AddressPolicy
from runtime.connectors import Config, ConfigError, ConnectorEntry, read_config, with_historical
from runtime.problems import Problem
from runtime.repeating import Repeating

_logger = logging.getLogger(__name__)


class ConfigStore:
    """Holds the current `Config`; an edit that does not validate is refused per connector."""

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
        self.first, problems = self._read()
        if problems:
            raise ConfigError(problems)
        self._config = self.first
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
        try:
            config, problems = self._read()
        except ConfigError as error:
            self._log(error.problems)
            return
        self._log(tuple(problems))
        kept = _kept(problems, self._config)
        if config.version != self._config.version:
            self._config = Config(config.version, {**kept, **config.connectors})

    def _read(self) -> tuple[Config, list[Problem]]:
        config, problems = read_config(self._uri, self._policy)
        return with_historical(config) if self._historical else config, problems

    def _log(self, problems: tuple[Problem, ...]) -> None:
        """Say what is wrong with an edit, once and not at every reading."""
        if problems != self._refused:
            self._refused = problems
            for problem in problems:
                _logger.error("the edit is refused, the last good settings stay: %s", problem)


def _kept(problems: Iterable[Problem], config: Config) -> dict[str, ConnectorEntry]:
    """The last good settings of the connectors whose edit is refused."""
    names = {problem.connector for problem in problems} & config.connectors.keys()
    return {name: config.connectors[name] for name in names}
