"""A lane: what is batched, paced and suspended together; its key is what Beam groups by."""

import urllib.parse
from typing import NamedTuple


class Lane(NamedTuple):
    """Connector, shard, and the part that the partner's own grouping adds (a feed, a file)."""

    connector: str
    part: str
    shard: int = 0

    @property
    def key(self) -> str:
        return f"{self.connector}/{self.shard}/{self.part}"

    @classmethod
    def of(cls, key: str) -> "Lane":
        """The lane of a key; a connector's name holds no slash."""
        connector, shard, part = key.split("/", 2)
        return cls(connector, part, int(shard))


def hold_lane(connector: str, hold_part: str) -> str:
    """The name of the queue in the hold: one a connector, or one a feed of it."""
    return f"{connector}+{hold_part}" if hold_part else connector


def connector_of(held: str) -> str:
    """The connector of a queue in the hold; a connector's name holds no plus sign."""
    return held.partition("+")[0]


def file_name_of(held: str) -> str:
    """What a queue in the hold is called where it is a file or a folder: no slash leads out of it.

    A name that a file system gave us and that is no UTF-8 has one too, which is another.
    """
    return urllib.parse.quote(held, safe="+", errors="surrogateescape")


def lane_of_file(name: str) -> str:
    """The queue in the hold that `file_name_of` has named."""
    return urllib.parse.unquote(name)
