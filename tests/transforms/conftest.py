"""What tests of the streaming graph share."""

from collections.abc import Iterator

import pytest

from sandbox.partners import Fault, PartnerSandbox, PostbackSite


@pytest.fixture
def hook_and_down() -> Iterator[PartnerSandbox]:
    """Two postbacks, of which `down` answers 503."""
    with PartnerSandbox({"hook": PostbackSite(), "down": PostbackSite()}) as running:
        running.set_fault("down", Fault(status=503))
        yield running
