import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ["schemas", "sinks", "sandbox", "tests"]

SINK = '''"""Seventh: a partner that takes the envelope."""

from collections.abc import Sequence
from typing import Literal

from schemas.connector import Connector
from schemas.secret import SecretRef, Secrets
from sinks.envelope import empty_request, pack_events
from sinks.sink import HttpRequest, Limits, Packed, Sink


class SeventhConnector(Connector, frozen=True, kw_only=True):
    """Settings of the seventh partner."""

    kind: Literal["seventh"] = "seventh"
    key: SecretRef


class SeventhSink(Sink[SeventhConnector]):
    """POSTs the envelope with a key."""

    kind = "seventh"
    settings_type = SeventhConnector
    needs_external_user_id = False
    proves_delivery = True
    limits = Limits(50, 100_000, 200_000, 10)

    def encode(self, events: Sequence[bytes], part: str, secrets: Secrets) -> Packed:
        headers = self._headers(secrets)
        return pack_events(
            events, "https://seventh.example.com", headers, self.max_request_bytes, self.max_events
        )

    def probe(self, part: str, secrets: Secrets) -> HttpRequest:
        return empty_request("https://seventh.example.com", self._headers(secrets))

    def _headers(self, secrets: Secrets) -> dict[str, str]:
        return {"Content-Type": "application/json", "Key": secrets[self.settings.key]}
'''
TESTS = """EXAMPLE = {"name": "the-seventh", "kind": "seventh", "key": "env:SEVENTH_KEY"}
SECRETS = {"env:SEVENTH_KEY": "s3v3nth"}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the contract suite needs, with a seventh partner's sink in it."""
    for folder in NEEDED:
        ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "sinks" / "seventh.py").write_text(SINK)
    return tmp_path


def run_contract(checkout: Path, selected: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", selected]
    return subprocess.run(
        [*command, "tests/sinks/test_contract.py"],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_a_new_partner_is_one_sink_file_and_one_test_file(checkout: Path) -> None:
    (checkout / "tests" / "sinks" / "test_seventh.py").write_text(TESTS)
    run = run_contract(checkout, "seventh or every_kind_has_a_test_file")
    assert run.returncode == 0, run.stdout
    assert int(run.stdout.rsplit(" passed", 1)[0].split()[-1]) > 50


@pytest.mark.slow
def test_a_sink_without_a_test_file_fails_the_suite(checkout: Path) -> None:
    run = run_contract(checkout, "every_kind_has_a_test_file")
    assert run.returncode == 1, run.stdout
    assert "seventh" in run.stdout


@pytest.mark.slow
def test_a_sink_that_loses_an_event_fails_the_suite(checkout: Path) -> None:
    (checkout / "tests" / "sinks" / "test_seventh.py").write_text(TESTS)
    (checkout / "sinks" / "seventh.py").write_text(
        SINK.replace("(\n            events,", "(\n            events[1:],")
    )
    run = run_contract(checkout, "seventh and loses_and_invents")
    assert run.returncode == 1, run.stdout
