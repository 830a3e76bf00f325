"""PullFromPubSub: a subscription as an endless splittable DoFn, for engines without a read of theirs.

What a bundle has pulled is acknowledged when the engine has committed it, and one later; see
`runtime.pull_leases`. Only what Beam publishes is used.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.pvalue import PBegin, PCollection
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.utils.timestamp import Duration

from runtime.pull_leases import Taking, leases_of
from schemas.pull import encode_pull

MAX_PULL_MESSAGES = 1_000
MAX_PULLS = 4
"""Of one bundle, where more is there at once: larger bundles cost the engine fewer commits."""
MAX_BUNDLE_SECONDS = 0.5
IDLE_SECONDS = 0.1
"""How long a reader that found nothing rests."""

_ENDED = -1

Reader = tuple[str, int]
"""A subscription, and which of its readers."""


@dataclass
class PullFromPubSub(beam.PTransform[PBegin, PCollection[bytes]]):
    """Nothing to encoded pulls, for as long as the pipeline runs.

    More readers than one share the subscription; each is a thread of some worker.
    """

    subscription: str
    readers: int = 1

    def expand(self, begin: PBegin) -> PCollection[bytes]:
        readers: list[Reader] = [(self.subscription, number) for number in range(self.readers)]
        return (
            begin
            | "Readers" >> beam.Create(readers, reshuffle=False)
            | "Pull" >> beam.ParDo(_PullFn())
        )


class _EndlessTracker(RestrictionTracker):
    """A restriction is the number of the next bundle; it is split into now and later."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._stopped = number == _ENDED

    def current_restriction(self) -> int:
        return self._number

    def try_claim(self, position: int) -> bool:  # noqa: ARG002
        return not self._stopped

    def try_split(self, fraction_of_remainder: float) -> tuple[int, int] | None:  # noqa: ARG002
        if self._stopped:
            return None
        number, self._number, self._stopped = self._number, _ENDED, True
        return _ENDED, number + 1

    def check_done(self) -> bool:
        return True

    def current_progress(self) -> RestrictionProgress:
        return RestrictionProgress(completed=0, remaining=1)

    def is_bounded(self) -> bool:
        return False


class _Endless(RestrictionProvider):
    def initial_restriction(self, element: Reader) -> int:  # noqa: ARG002
        return 0

    def create_tracker(self, restriction: int) -> _EndlessTracker:
        return _EndlessTracker(restriction)

    def restriction_size(self, element: Reader, restriction: int) -> int:  # noqa: ARG002
        return 0 if restriction == _ENDED else 1

    def restriction_coder(self) -> VarIntCoder:
        return VarIntCoder()

    def truncate(self, element: Reader, restriction: int) -> None:
        """Where the engine drains, nothing more is read."""


_ENDLESS = beam.DoFn.RestrictionParam(_Endless())


@beam.typehints.with_output_types(bytes)
class _PullFn(beam.DoFn):
    def setup(self) -> None:
        self._takings: list[Taking] = []

    # An instance gets no other bundle before its last one is committed; what is open then, or at
    # the end, has failed.

    def start_bundle(self) -> None:
        self._give_back()

    def teardown(self) -> None:
        self._give_back()

    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        reader: Reader,
        finalizer: Any = beam.DoFn.BundleFinalizerParam,  # must come first: Beam goes by position
        tracker: Any = _ENDLESS,
    ) -> Iterator[bytes]:
        until = time.monotonic() + MAX_BUNDLE_SECONDS
        leases = leases_of(*reader)
        if leases.ended:  # nothing is deferred, so that this was the last bundle
            return
        taking = leases.begin(tracker.current_restriction())
        self._takings.append(taking)
        finalizer.register(taking.commit)
        rest = 0.0
        for position in range(MAX_PULLS):
            if not tracker.try_claim(position):
                return
            pulls = taking.pull(MAX_PULL_MESSAGES)
            yield from map(encode_pull, pulls)
            if not pulls:
                rest = IDLE_SECONDS if position == 0 else 0
                break
            if time.monotonic() > until:
                break
        tracker.defer_remainder(Duration(seconds=rest))

    def _give_back(self) -> None:
        for taking in self._takings:
            taking.give_back()
        self._takings = []
