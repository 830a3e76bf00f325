"""What lies in the engine's state or in its shuffles, with every field set, as it is encoded.

The engine sees bytes, whatever is in them: an update in place gives the new code what the old code
wrote. So the new code must read the old code's bytes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from runtime.batching import Waiting, decode_waiting, encode_waiting
from runtime.hold.objects import HeldBatch
from runtime.hold.watch import (
    Failure,
    Watch,
    decode_failure,
    decode_watch,
    encode_failure,
    encode_watch,
)
from runtime.keeping import (
    Holding,
    Letters,
    decode_holding,
    decode_letters,
    encode_holding,
    encode_letters,
)
from runtime.token_bucket import TokenBucket, bucket_at, encode_bucket
from schemas.batch import Batch, Token, decode_batch, encode_batch
from schemas.dead_letter import DeadLetter
from schemas.pull import Pull, decode_pull, encode_pull
from transforms import gather_and_write, gather_pulls

MS = 1_790_000_000_000
SECONDS = MS / 1_000
EVENTS = [b'{"id":"e-1"}', b'{"id":"e-2"}']


class Sample(NamedTuple):
    """A value, how it is encoded, and how it is read again."""

    value: Any
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


_TOKENS = [Token(receipt=11, reading=12, ordinal="13")]
_HELD = HeldBatch(
    part="ios",
    oldest_ms=MS,
    newest_ms=MS + 1,
    first_failed_ms=MS + 2,
    reason="status_503",
    attempts=3,
    status=503,
    answer="down",
    blame="try",
    retry_at_ms=MS + 4,
    replays=2,
    events=EVENTS,
)
_LETTER = DeadLetter(
    event=EVENTS[0],
    stage="deliver",
    reason="rejected",
    detail="no such field",
    connector="crm",
    lane="crm/ios",
    status=400,
    answer="bad",
    attempts=5,
    published_ms=MS,
    first_failed_ms=MS + 1,
    buried_ms=MS + 2,
    config_version="c0ffee",
    replays=3,
)
_BUCKET = TokenBucket(version=1, rate=7.0, tokens=2.5, at=SECONDS)


def _read_bucket(encoded: bytes) -> TokenBucket:
    return bucket_at(encoded, _BUCKET.rate, _BUCKET.at)


# By their names: a sample must not follow fields that are put in another order.
SAMPLES = {
    "Pull": Sample(
        Pull(
            oldest_ms=MS,
            newest_ms=MS + 1,
            messages=EVENTS,
            receipt=4,
            replays=2,
            connector="crm",
            paced=True,
        ),
        encode_pull,
        decode_pull,
    ),
    "Batch": Sample(
        Batch(
            oldest_ms=MS,
            newest_ms=MS + 3,
            tokens=_TOKENS,
            events=EVENTS,
            size=len(b"\n".join(EVENTS)),
            replays=5,
            hold_reason="rate_limit",
        ),
        encode_batch,
        decode_batch,
    ),
    "Holding": Sample(
        Holding(version=1, tokens=_TOKENS, batches=[_HELD]), encode_holding, decode_holding
    ),
    "Letters": Sample(
        Letters(version=1, tokens=_TOKENS, letters=[_LETTER]), encode_letters, decode_letters
    ),
    "Failure": Sample(
        Failure(reason="status_503", blame="try", status=503, answer="down", retry_at_ms=MS),
        encode_failure,
        decode_failure,
    ),
    "Waiting": Sample(
        Waiting(version=1, count=3, size=4_000, since=SECONDS, for_hold=True, look_at=SECONDS + 5),
        encode_waiting,
        decode_waiting,
    ),
    "TokenBucket": Sample(_BUCKET, encode_bucket, _read_bucket),
    "Watch": Sample(
        Watch(
            version=1,
            state="suspended",
            reason="status_401",
            status=401,
            answer="who?",
            since_ms=MS,
            failures=6,
            next_try_ms=MS + 7,
            rejected=8,
            failed_ms=MS + 9,
        ),
        encode_watch,
        decode_watch,
    ),
    "GatherPulls.Gathered": Sample(
        gather_pulls._Gathered(version=1, size=4_000), gather_pulls._encode, gather_pulls._decode
    ),
    "GatherAndWrite.Gathered": Sample(
        gather_and_write._Gathered(version=1, size=4_000),
        gather_and_write._encode,
        gather_and_write._decode,
    ),
}


def encoded_samples() -> dict[str, str]:
    """Today's forms, in hexadecimal."""
    return {name: sample.encode(sample.value).hex() for name, sample in SAMPLES.items()}
