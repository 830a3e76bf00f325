"""The embedded Pub/Sub as a process of its own, so that its work is not the benchmark's.

    .venv/bin/python -m benchmarks.pubsub_server

It prints its address as JSON and serves until its standard input ends.
"""

import json
import sys

from sandbox.pubsub import EmbeddedPubSub


def main() -> None:
    """Serve."""
    with EmbeddedPubSub() as pubsub:
        sys.stdout.write(json.dumps({"address": pubsub.address}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
