"""Which modules are mutated, and which tests have to notice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Modules of one package that are tested by the same tests."""

    package: str
    modules: Sequence[str]
    """Patterns of paths in the package, without `.py`."""
    tests: Sequence[str]
    ignored: Sequence[str] = ()
    """Tests among them that are too slow, or need a process of their own."""


_OF_RUNTIME = (
    "answer_head",
    "answer_parser",
    "answers",
    "batching",
    "breaker",
    "config_store",
    "cutoff",
    "dead_letters",
    "deadline",
    "decoding",
    "figures",
    "in_flight",
    "in_turn",
    "ledger",
    "lookups",
    "persons",
    "receipts",
    "repeating",
    "request_head",
    "routing",
    "shares",
    "token_bucket",
)
"""The pure parts; the others are threads, sockets and storage."""
_OF_HOLD = (
    "hold/adoption",
    "hold/bounded_release",
    "hold/directory",
    "hold/expiry",
    "hold/held_object",
    "hold/held_queue",
    "hold/lane_statuses",
    "hold/release",
    "hold/suspensions",
    "hold/turn",
)

GROUPS: Mapping[str, Group] = {
    "sinks": Group("sinks", ["*"], ["tests/sinks"], ["tests/sinks/test_new_partner.py"]),
    "schemas": Group(
        "schemas",
        ["*"],
        [
            "tests/schemas",
            "tests/sinks/test_packing.py",
            "tests/sinks/test_segment.py",
            "tests/runtime/hold/test_directory.py",
            "tests/runtime/hold/test_lane_statuses.py",
            "tests/runtime/test_alerts.py",
            "tests/runtime/test_batching.py",
            "tests/runtime/test_connectors.py",
            "tests/runtime/test_dead_letters.py",
            "tests/runtime/test_decoding.py",
            "tests/runtime/test_figures.py",
            "tests/runtime/test_in_flight.py",
            "tests/runtime/test_reporting.py",
            "tests/runtime/test_secrets.py",
            "tests/transforms/test_gather_pulls.py",
            "tests/deploy/test_job_graph.py",
            "tests/pipeline/test_probe.py",
        ],
    ),
    "runtime": Group(
        "runtime",
        _OF_RUNTIME,
        ["tests/runtime"],
        [
            "tests/runtime/hold",
            "tests/runtime/test_archive.py",
            "tests/runtime/test_object_stores.py",
            "tests/runtime/test_pool.py",
            "tests/runtime/test_storage.py",
            "tests/runtime/test_subscriber.py",
            "tests/runtime/test_subscription_calls.py",
        ],
    ),
    "hold": Group("runtime", _OF_HOLD, ["tests/runtime/hold"]),
}

NOT_MUTATED = ("schemas/facts/*", "sinks/__init__.py")
"""What makes the event catalogue, which runs by hand; what finds the sinks, once, before any test."""
