"""What flows from routing to delivery: (lane, batch), and how Beam is to encode it where it must.

Between steps that run together a batch stays as it is; only a shuffle or an engine encodes it.
"""

import apache_beam as beam
from apache_beam.coders import Coder

from schemas.batch import Batch, decode_batch, encode_batch

LaneBatch = tuple[str, Batch]


class BatchCoder(Coder):
    """Encodes batches in their versioned form."""

    def encode(self, batch: Batch) -> bytes:
        return encode_batch(batch)

    def decode(self, encoded: bytes) -> Batch:
        return decode_batch(encoded)

    def is_deterministic(self) -> bool:
        return True

    def estimate_size(self, batch: Batch) -> int:
        return batch.size

    def to_type_hint(self) -> type[Batch]:
        return Batch


beam.coders.registry.register_coder(Batch, BatchCoder)
