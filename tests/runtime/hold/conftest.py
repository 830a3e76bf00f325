"""What the tests of attended lanes share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.partners import PartnerSandbox, PostbackSite
from tests.runtime.hold.attending import Held


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"hook": PostbackSite(token="right")}) as running:
        yield running


@pytest.fixture
def start(sandbox: PartnerSandbox, tmp_path: Path) -> Iterator[Callable[..., Held]]:
    begun: list[Held] = []

    def begin(**changes: Any) -> Held:
        begun.append(Held(sandbox, tmp_path, **changes))
        return begun[-1]

    yield begin
    for held in begun:
        held.worker.close()
