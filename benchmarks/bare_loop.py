"""Bar (i): the best bare Python loop that does the same deliveries, with no Beam and no promises.

    .venv/bin/python -m benchmarks.bare_loop EVENTS RECEIVER [--postbacks_only [--checked]]

sends a file of events to a postback, Segment and mParticle at the receiver's address, or to three
postbacks. How it is done, and what it leaves out, is said in `benchmarks.bare_deliveries`. Nothing is
printed: `benchmarks.relay` measures it as a process. With `--checked` the postbacks' events are
decoded before they are sent; without it they are lines that nobody has looked at.
"""

import argparse
import gc
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bare_deliveries import CheckedPostbacks, Postbacks, ThreeKinds
from benchmarks.partners import THREE_KINDS, THREE_POSTBACKS

BLOCK_BYTES = 1_000_000


def main() -> None:
    """Deliver the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path, help="a file of events, one a line")
    parser.add_argument("receiver", help="the receiver's address")
    parser.add_argument("--postbacks_only", action="store_true")
    parser.add_argument("--checked", action="store_true")
    arguments = parser.parse_args()
    gc.disable()  # nothing here makes a cycle
    deliveries = _deliveries(arguments)
    for lines in _blocks(arguments.events):
        deliveries.add(lines)
    deliveries.flush()
    deliveries.close()


def _deliveries(arguments: argparse.Namespace) -> Postbacks | ThreeKinds:
    if not arguments.postbacks_only:
        return ThreeKinds(arguments.receiver, THREE_KINDS)
    kind = CheckedPostbacks if arguments.checked else Postbacks
    return kind(arguments.receiver, list(THREE_POSTBACKS))


def _blocks(path: Path) -> Iterator[list[bytes]]:
    """The lines of a file that ends in a line break, a block at a time."""
    with path.open("rb", buffering=0) as file:
        rest = b""
        while block := file.read(BLOCK_BYTES):
            lines = block.split(b"\n")
            lines[0] = rest + lines[0]
            rest = lines.pop()
            if lines:
                yield lines
        if rest:
            yield [rest]


if __name__ == "__main__":
    main()
