"""What Beam's Flink runner takes beside the options that Beam's Python knows."""

import argparse

from apache_beam.options.pipeline_options import PipelineOptions

CHECKPOINTING_INTERVAL_MS = 5_000
MAX_BUNDLE_TIME_MS = 50


class FlinkOptions(PipelineOptions):  # type: ignore[misc]
    """Passed on to the job server, under Flink's names."""

    checkpointing_interval: int | None
    max_bundle_time_mills: int | None

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--checkpointing_interval",
            type=int,
            metavar="MS",
            help="on Flink: so often state is made durable, and what was read before the last "
            f"time is acknowledged; {CHECKPOINTING_INTERVAL_MS} by default",
        )
        parser.add_argument(
            "--max_bundle_time_mills",
            type=int,
            metavar="MS",
            help="on Flink: how long a bundle lasts at the most; timers wait for its end, and the "
            f"subscription is read once in each; {MAX_BUNDLE_TIME_MS} by default",
        )
        parser.add_argument("--state_backend", help="on Flink: where state is, hashmap or rocksdb")
        parser.add_argument(
            "--savepoint_path",
            metavar="URI",
            help="on Flink: the checkpoint or savepoint of an earlier job, to go on from: what it "
            "had acknowledged and not yet delivered is there and nowhere else",
        )

    def set_defaults(self) -> None:
        """Flink's own default of a bundle's time is a second, and it makes no checkpoints."""
        self.checkpointing_interval = self.checkpointing_interval or CHECKPOINTING_INTERVAL_MS
        self.max_bundle_time_mills = self.max_bundle_time_mills or MAX_BUNDLE_TIME_MS
