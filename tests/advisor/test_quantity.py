import math

import pytest

from pretune.advisor.quantity import (
    UNKNOWN,
    Interval,
    format_bytes,
    format_seconds,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4G", 4 * 1024**3),
        ("512M", 512 * 1024**2),
        ("1.5GiB", 3 * 1024**3 // 2),
        ("800MB", 800 * 1024**2),
        ("64k", 65536),
        ("123", 123),
        (" 2 g ", 2 * 1024**3),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["4X", "", "G", "-1G", "4 G 2", "1e9", "four"])
def test_a_wrong_size_shows_a_right_one(text: str) -> None:
    with pytest.raises(ValueError, match="4G"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("300ms", 0.3), ("2s", 2), ("2m", 120), ("1.5", 1.5), ("50us", 5e-5)]
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["soon", "3 ns", "", "-2s"])
def test_a_wrong_duration_shows_a_right_one(text: str) -> None:
    with pytest.raises(ValueError, match="300ms"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(512, "512 B"), (1536, "2 KiB"), (212 * 1024**2, "212 MiB"), (1.5 * 1024**3, "1.5 GiB")],
)
def test_bytes_are_shown_with_three_digits(size: float, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(85e-5, "850 us"), (0.0123, "12.3 ms"), (2.1, "2.1 s"), (200, "3 min 20 s")],
)
def test_seconds_are_shown_in_a_unit_that_fits(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_an_unknown_number_becomes_null_in_json() -> None:
    assert UNKNOWN.to_json() == {"value": None, "low": None, "high": None}
    assert Interval(1, 0, math.inf).to_json() == {"value": 1, "low": 0, "high": None}
