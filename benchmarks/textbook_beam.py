"""Bar (ii): textbook Beam that does the same deliveries, as a good tutorial would write it.

    .venv/bin/python -m benchmarks.textbook_beam EVENTS RECEIVER [--postbacks_only]

reads lines, parses them with json.loads, and for each connector filters, reshapes, gathers by
GroupIntoBatches and posts with a requests.Session. Nothing of it is slow on purpose: the shapes are
made by the same functions as the bare loop's, sessions are kept for the life of a DoFn, batches are of
100. FnApiRunner may lose the last events of some batches where several stateful steps stand side by
side; `benchmarks.relay` counts what arrived and says what was lost.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import requests
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection

from benchmarks.partners import FEEDS, HEADERS, THREE_KINDS, THREE_POSTBACKS, url_of
from benchmarks.shapes import feed_of, plan_of, track_of, user_batch_of

BATCH_EVENTS = 100

Event = dict[str, Any]
Keyed = tuple[str, Any]


def main() -> None:
    """Deliver the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", help="a file of events, one a line")
    parser.add_argument("receiver", help="the receiver's address")
    parser.add_argument("--postbacks_only", action="store_true")
    arguments = parser.parse_args()
    kinds = THREE_POSTBACKS if arguments.postbacks_only else THREE_KINDS
    with beam.Pipeline(options=PipelineOptions(runner="FnApiRunner")) as pipeline:
        events = (
            pipeline
            | "Read" >> beam.io.ReadFromText(arguments.events)
            | "Parse" >> beam.Map(json.loads)
        )
        for name, kind in kinds.items():
            _deliver(events, name, kind, url_of(arguments.receiver, kind, name))


def _deliver(events: PCollection[Event], name: str, kind: str, url: str) -> None:
    """The steps of one connector."""
    _ = (
        events
        | f"Shape for {name}" >> beam.FlatMap(_SHAPES[kind])
        | f"Batch for {name}" >> beam.GroupIntoBatches(BATCH_EVENTS)
        | f"Post to {name}" >> beam.ParDo(_PostFn(kind, url))
    )


def _as_it_is(event: Event) -> Iterator[Keyed]:
    yield "all", event


def _as_track(event: Event) -> Iterator[Keyed]:
    plan = plan_of(event["event_type"])
    if plan.track_name:
        fields = event["id"], event["time"], event["user"], event["properties"]
        yield "all", track_of(plan, *fields)


def _as_user_batch(event: Event) -> Iterator[Keyed]:
    plan = plan_of(event["event_type"])
    if plan.event_name:
        fields = event["id"], event["time"], event["user"], event["properties"]
        yield feed_of(plan, event["properties"]), user_batch_of(plan, *fields)


_SHAPES = {"postback": _as_it_is, "segment": _as_track, "mparticle": _as_user_batch}


def _body(kind: str, batch: Sequence[Any]) -> Any:
    if kind == "postback":
        return {"events": list(batch)}
    return {"batch": list(batch)} if kind == "segment" else list(batch)


class _PostFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, kind: str, url: str) -> None:
        self._kind = kind
        self._url = url

    def setup(self) -> None:
        headers: Mapping[str, str] = HEADERS[self._kind]
        self._sessions = {feed: requests.Session() for feed in ("all", *FEEDS)}
        for session in self._sessions.values():
            session.headers.update(headers)

    def process(self, element: Keyed) -> None:
        feed, batch = element
        answer = self._sessions[feed].post(self._url, json=_body(self._kind, batch), timeout=10)
        answer.raise_for_status()

    def teardown(self) -> None:
        for session in self._sessions.values():
            session.close()


if __name__ == "__main__":
    main()
