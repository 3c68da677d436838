"""What a run tells: JSON lines on disk, one live line on the terminal, a tracker, and how fast it is."""

from klear_train.metrics.live import LiveLine
from klear_train.metrics.log import StepLog
from klear_train.metrics.report import Report
from klear_train.metrics.throughput import Throughput
from klear_train.metrics.trackers import open_tracker, require_tracker

__all__ = ["LiveLine", "Report", "StepLog", "Throughput", "open_tracker", "require_tracker"]
