"""A world for each test, the seed of everything that is drawn by lot, and the table of moments."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from sandbox.partners import PartnerSandbox, PostbackSite
from sandbox.pubsub import EmbeddedPubSub
from sandbox.pubsub.broker import Broker
from tests.crashes.moments import SEED
from tests.crashes.table import Moments
from tests.crashes.world import GROUPS, SkippingClock, World
from tests.pipeline.running import make_subscription

_MOMENTS = Moments()


@pytest.fixture
def moments() -> Moments:
    """The table, to which each test adds its row."""
    return _MOMENTS


@pytest.fixture
def world(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[World]:
    clock = SkippingClock()
    sites = {name: PostbackSite() for name in GROUPS}
    with EmbeddedPubSub(broker=Broker(clock)) as pubsub, PartnerSandbox(sites) as partners:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.address)
        publisher = make_subscription()
        chance = random.Random(f"{SEED} {request.node.name}")
        made = World(tmp_path, pubsub, clock, publisher, partners, chance)
        made.connect()
        yield made
        publisher.stop()
        publisher.transport.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was where at each kill, and what was sent twice."""
    if not _MOMENTS.rows:
        return
    console = Console(file=terminalreporter._tw._file, width=160)
    console.print(_MOMENTS.table(f"moments of seed {SEED} (CURRENTS_CRASH_SEED)"))
