"""All benchmarks, in the order in which they are taken."""

from __future__ import annotations

from workers.bench.benchmark import Benchmark
from workers.bench.dispatch import DISPATCH
from workers.bench.growth import GROWTH
from workers.bench.in_process import IN_PROCESS
from workers.bench.start_up import START_UP
from workers.bench.throughput import THROUGHPUT
from workers.bench.waiting import WAITING
from workers.bench.whole import WHOLE

BENCHMARKS: tuple[Benchmark, ...] = (IN_PROCESS, DISPATCH, WHOLE, THROUGHPUT, GROWTH, WAITING, START_UP)
