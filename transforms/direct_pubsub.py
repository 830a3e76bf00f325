"""Our subscriber behind DirectRunner's own Pub/Sub read.

Beam's evaluator pulls ten messages, blocks its only thread for up to 30 s, and acknowledges before
anything was done. One private class of it is touched, in two methods: where the subscriber comes
from, and how the source ends; and the clock that its timers go by. Beam is pinned to 2.77 for that,
and a test fails when it changes.
"""

import time
from typing import Any

from apache_beam.runners.direct import direct_runner, transform_evaluator
from apache_beam.runners.direct.util import TransformResult
from apache_beam.utils.timestamp import Timestamp
from google.pubsub_v1.types import PubsubMessage, PullResponse, ReceivedMessage

from runtime.subscriber import Subscriber
from schemas.pull import encode_pull
from transforms.engine import Engine

_PRIVATE_CLASS = "_PubSubReadEvaluator"
_PRIVATE_METHODS = ("_get_subscriber_client", "finish_bundle", "_read_from_pubsub")


class BeamChanged(Exception):
    """The installed Beam is not the one that this was written for."""


def read_through(subscriber: Subscriber) -> None:
    """Let DirectRunner's Pub/Sub read take pulls from `subscriber` until it is stopped.

    Raises:
        BeamChanged: what is touched is not there.
    """
    evaluator = getattr(transform_evaluator, _PRIVATE_CLASS, None)
    if evaluator is None or not all(hasattr(evaluator, name) for name in _PRIVATE_METHODS):
        raise BeamChanged(f"apache_beam has no {_PRIVATE_CLASS} as in 2.77; install that version")
    if not hasattr(direct_runner, "RealClock"):
        raise BeamChanged(
            "apache_beam's DirectRunner has no clock as in 2.77; install that version"
        )
    finish_bundle = getattr(evaluator, "_stock_finish_bundle", evaluator.finish_bundle)

    def finish(self: Any) -> TransformResult:
        stopped = subscriber.stopped
        result = finish_bundle(self)
        if stopped:  # no bundle is left to be read, and the watermark is free to reach the end
            result.unprocessed_bundles = []
            result.keyed_watermark_holds = {None: None}
        return result

    direct_runner.RealClock = _SteadyClock
    evaluator._stock_finish_bundle = finish_bundle  # noqa: SLF001
    evaluator.finish_bundle = finish
    evaluator._get_subscriber_client = classmethod(  # noqa: SLF001
        lambda _evaluator, _transform: _Client(subscriber)
    )


class _SteadyClock:
    """In place of DirectRunner's own clock."""

    def time(self) -> float:
        return Engine.DIRECT.now()


class _Client:
    """What the evaluator asks of a Pub/Sub client."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    def pull(self, **_asked: Any) -> PullResponse:
        pull = self._subscriber.pull()
        if pull is None:
            return PullResponse()
        message = PubsubMessage(
            data=encode_pull(pull), publish_time=Timestamp.of(time.time()).to_utc_datetime()
        )
        return PullResponse(received_messages=[ReceivedMessage(ack_id="receipt", message=message)])

    def acknowledge(self, **_asked: Any) -> None:
        """Nothing: the receipts acknowledge, after the effect."""
