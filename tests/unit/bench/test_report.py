# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make bench` writes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench.report import Bar, Section, Spread, load, number_text, ratios, svg, write

SECTION = Section(
    "Small <requests>",
    "Said so.",
    ("What", "to bare HTTP"),
    [("a & b", "0.90")],
    picture="small.svg",
    scale="requests/s, to those of the bare registry",
    bars=[Bar.of("a & b", Spread([0.5, 0.9, 1.1])), Bar("other", 2, 2, 2, ours=False)],
    machine="2 cores",
    versions="nginx/1",
    load="0.1",
)


def test_rates_are_compared_round_by_round() -> None:
    assert str(ratios([50, 90, 30], [100, 100, 40])) == "0.75 (0.50 to 0.90)"


def test_a_picture_is_well_formed_and_has_all_bars() -> None:
    picture = ElementTree.fromstring(svg(SECTION))  # noqa: S314 (our own)
    texts = {element.text for element in picture.iter() if element.text}
    assert {"a & b", "other", "0.90", "2.00"} <= texts


@pytest.mark.parametrize(("value", "text"), [(0.123, "0.12"), (12.34, "12.3"), (12345.6, "12,346")])
def test_numbers_have_the_digits_that_say_something(value: float, text: str) -> None:
    assert number_text(value) == text


def test_a_part_that_is_not_measured_again_stays(tmp_path: Path) -> None:
    order = ("small", "blobs")
    write(tmp_path, {"blobs": SECTION}, order)
    write(tmp_path, {"small": SECTION}, order)
    assert list(load(tmp_path / "results.json")) == list(order)
    assert (tmp_path / "README.md").read_text(encoding="utf-8").count("| a & b | 0.90 |") == 2
    assert (tmp_path / "small.svg").exists()
