"""What the long watch of the service says of its memory."""

import pytest

from quiver.benchmarks.speed.service_soak import Minute, halves


def minutes(rss):
    return [Minute(n, mb, 40.0, 20 + n, 18, 1, 100, 0, 2.0, 1.0, n) for n, mb in enumerate(rss, 1)]


def test_the_halves_of_the_time_are_compared_without_the_first_minutes():
    told = halves(minutes([100, 300, 500, 501, 502, 503]), warm=2)
    assert told["minutes"] == 4 and told["answers"] == 400
    assert told["rss_mb"] == [500.5, 502.5] and told["files"] == [23.5, 25.5] and told["threads"] == [18, 18]
    assert told["mb_per_hour"] == pytest.approx(60.0)


def test_memory_that_stays_has_no_slope():
    assert halves(minutes([500, 501, 501, 500]), warm=0)["mb_per_hour"] == pytest.approx(0.0, abs=1e-6)


def test_one_minute_is_told_too():
    assert halves(minutes([500]), warm=5)["rss_mb"] == [500, 500]
