# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make bench` reads of wrk's answers."""

from __future__ import annotations

from tests.bench.stage import Answers, answers

SAID = """\
Running 4s test @ https://registry.test:8001/v2/
  1 threads and 24 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    27.02ms   31.88ms 197.97ms   84.30%
    Req/Sec     1.60k   149.50     2.00k    77.50%
  Latency Distribution
     50%  812.00us
     75%   36.63ms
     90%   75.29ms
     99%    1.20s\x20
  6378 requests in 4.00s, 2.56GB read
Requests/sec:   1593.25
Transfer/sec:      0.64GB
"""


def test_units_do_not_matter() -> None:
    assert answers(SAID) == Answers(rate=1593.25, mib=0.64 * 1024, half=0.812, slowest=1200.0)
