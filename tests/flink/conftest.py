"""A Flink cluster of real processes, with our Pub/Sub and partners; only where it is asked for.

`./run_tests.sh --flink` asks: it needs Java 17, Maven and its registry, and takes minutes.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.pubsub import EmbeddedPubSub
from tests.flink.cluster import Cluster, NoFlink

collect_ignore_glob = [] if os.environ.get("CURRENTS_FLINK") else ["test_*.py"]


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedPubSub]:
    with EmbeddedPubSub() as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", running.address)
        yield running


@pytest.fixture(scope="session")
def cluster(server: EmbeddedPubSub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Its workers talk to `server`, whose address is in the environment."""
    assert os.environ["PUBSUB_EMULATOR_HOST"] == server.address
    folder: Path = tmp_path_factory.mktemp("flink")
    try:
        running = Cluster(folder)
    except NoFlink as reason:
        pytest.skip(f"no Flink: {reason}")
    with running:
        yield running
