# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/prices.yml is the one list of prices, and each figure about money in docs/ follows from it."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

DOCS = Path(__file__).parents[3] / "docs"
FILE: dict[str, Any] = yaml.safe_load((DOCS / "prices.yml").read_text(encoding="utf-8"))
PAGES = {name: (DOCS / name).read_text(encoding="utf-8") for name in ("cost.md", "when-not.md")}
REGIONS = ("frankfurt", "virginia")
ALL = {Decimal(str(price[region])) for price in FILE["prices"].values() for region in REGIONS if region in price}
# Amounts that stand in sentences, and what makes them; a name is that of a heading of cost.md, for the sum below it.
IN_SENTENCES = {
    "cost.md": {
        "0.80": "100 * $0.008",
        "9": "100 * $0.09",
        "36": "(500 - 100) * $0.09",
        "37.96": "730 * $0.052",
        "32.85": "730 * $0.045",
        "3.65": "730 * $0.005",
        "8.03": "730 * $0.011",
        "8": "730 * $0.011",
        "16.06": "2 * 730 * $0.011",
        "48.18": "3 * 2 * 730 * $0.011",
        "64.24": "4 * 2 * 730 * $0.011",
        "10.51": "730 * $0.0144",
        "9.34": "730 * $0.0128",
        "3.50": "730 * $0.0048",
        "0.26": "45 * $0.0054 + 47 * $0.00043",
        "0.006": "14 * $0.00043",
        "0.0013": "(254 * $0.005 + 55 * $0.0004) / 1,000",
        "0.0002": "(45 * $0.005 + 47 * $0.0004) / 1,000",
        "0.56": "100 * 0.23 * $0.0245",
        # From the bill that gives the prices.
        "19.44": "720 * $0.027",
        "6.71": "720 * 0.25 * $0.03725",
        "1.47": "720 * 0.5 * $0.00409",
        "1.60": "4 * $0.40",
    },
    "mirrors.md": {"10.40": "200 * $0.052", "0.10": "2 * $0.052", "19.04": "200 * $0.0952"},
    "when-not.md": {},
    "aws.md": {"22": "one-host", "8": "730 * $0.011", "33": "730 * $0.045"},
    "fleet.md": {"8": "730 * $0.011"},
    "ecs.md": {"64": "4 * 2 * 730 * $0.011"},
    "capacity.md": {
        "0.000006": "14 * $0.00043 / 1,000",
        "0.00026": "(45 * $0.0054 + 47 * $0.00043) / 1,000",
        "0.26": "45 * $0.0054 + 47 * $0.00043",
        "0.46": "16 * 3.6 * $0.008",
        "0.92": "2 * 16 * 3.6 * $0.008",
        "4.61": "10 * 16 * 3.6 * $0.008",
        "14": "30 * 16 * 3.6 * $0.008",
        "46": "100 * 16 * 3.6 * $0.008",
        "461": "1,000 * 16 * 3.6 * $0.008",
        "0.19": "10 * $0.0192",
        "11": "730 * $0.0144",
    },
    "storage.md": {"0.011": "(1,300 * $0.0054 + 10,000 * $0.00043) / 1,000"},
    # A limit that is set, and no price.
    "first-run.md": {"20": "20"},
}
OPERATORS: dict[type, Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
# As pages write them.
SIGNS = str.maketrans({"\u00d7": "*", "\u2212": "-"})
Prices = Callable[[str], Decimal]


def compute(node: ast.expr) -> Decimal:
    """Work out sums and products of numbers."""
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](compute(node.left), compute(node.right))
    assert isinstance(node, ast.Constant)
    return Decimal(str(node.value))


def evaluate(formula: str, price: Prices, total: Decimal = Decimal(0)) -> Decimal:
    """Work out a formula as the pages write it, up to its semicolon; words in it say what a number is."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", formula.split(";", maxsplit=1)[0].replace("\\*", ""))
    text = re.sub(r"\$([\d.]+)", lambda found: str(price(found[1])), text.translate(SIGNS))
    text = re.sub(r"\bsum\b", str(total), text)
    return compute(ast.parse(re.sub(r"\b[A-Za-z]+\b", "", text).strip(), mode="eval").body)


def in_region(region: str) -> Prices:
    """Return what a price of Frankfurt is in a region."""

    def price(amount: str) -> Decimal:
        found = {
            Decimal(str(one.get(region, one["frankfurt"])))
            for one in FILE["prices"].values()
            if Decimal(str(one["frankfurt"])) == Decimal(amount)
        }
        assert len(found) == 1, f"${amount}: the file has {found or 'no such price'}"
        return found.pop()

    return price


def as_written(amount: str) -> Decimal:
    """Return a price as it stands, of whichever region."""
    assert Decimal(amount) in ALL, f"${amount} is no price of the file"
    return Decimal(amount)


def shown(value: Decimal, like: str) -> str:
    """Write a number with as many decimals as another one."""
    return f"{value.quantize(Decimal(like.replace(',', '')), ROUND_HALF_UP):,}"


def anchor(heading: str) -> str:
    """Return the name by which a heading is linked."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


def tables(page: str) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield each table of a page: the heading above it, its header and its rows."""
    heading, lines = "", []
    for line in [*page.splitlines(), ""]:
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if line.startswith("|"):
            lines.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif lines:
            yield heading, lines[0], lines[2:]
            lines = []


def computed(region: str) -> Iterator[tuple[str, str, str, Decimal | str]]:
    """Yield each row of cost.md that says how it is made: its heading, what it is, its figure, and what comes out.

    A sum, in bold, is that of all rows above it but those that are made of a sum. A link leads to another table's sum.
    """
    column = 1 + REGIONS.index(region)
    for heading, header, rows in tables(PAGES["cost.md"]):
        total = Decimal(0)
        for row in rows if header[-1].startswith("Arithmetic") else []:
            figure, formula = row[column], row[-1]
            if figure.startswith("**"):
                yield heading, row[0], figure.strip("*"), total
            elif link := re.search(r"\]\(#([\w-]+)\)$", formula):
                yield heading, row[0], figure, link[1]
            else:
                found = evaluate(formula, in_region(region), total) if "$" in formula else Decimal(0)
                total += 0 if "sum" in formula else found
                yield heading, row[0], figure, found


def sums(region: str) -> dict[str, Decimal]:
    """Return the first sum below each heading of cost.md."""
    found: dict[str, Decimal] = {}
    for heading, _label, figure, value in computed(region):
        if isinstance(value, Decimal) and f"**{figure}**" in PAGES["cost.md"]:
            found.setdefault(anchor(heading), value)
    return found


@pytest.mark.parametrize("region", REGIONS)
def test_each_figure_follows_from_its_arithmetic(region: str) -> None:
    rows = list(computed(region))
    assert len(rows) > 45
    wrong = [
        f"{heading}, {label}: {figure}, not {shown(value, figure)}"
        for heading, label, figure, link in rows
        for value in [sums(region)[link] if isinstance(link, str) else link]
        if figure != shown(value, figure)
    ]
    assert not wrong


def test_health_checks_and_requests_cost_what_they_say() -> None:
    checked = 0
    for _heading, header, rows in tables(PAGES["cost.md"]):
        for row in rows:
            if header[0] == "Interval":
                for region, figure in zip(REGIONS, row[2:]):
                    assert figure == shown(evaluate(f"{row[1]} * $0.0054 / 1,000", in_region(region)), figure)
                    checked += 1
            if header[-2:] == ["DELETE", "Frankfurt"]:
                put, listed, got = row[1:4]
                cost = evaluate(f"(({put} + {listed}) * $0.0054 + {got} * $0.00043) / 1,000", as_written)
                assert row[5] == f"${shown(cost, row[5].strip('$'))}"
                checked += 1
    assert checked == 14


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: str(path.name))
def test_no_amount_comes_from_elsewhere(path: Path) -> None:
    page = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    totals, made = sums("frankfurt"), IN_SENTENCES.get(path.name, {})
    known = {
        # What a request costs, what a day costs, and sums, all of which other tests look at.
        *(row[5].strip("$") for _, header, rows in tables(page) if "DELETE" in header for row in rows),
        *(
            row[2].strip("$")
            for _, header, rows in tables(page)
            if "A day, if it is forgotten" in header
            for row in rows
        ),
        *re.findall(r"\[\$([\d.]+)\]\(cost\.md", page),
        *made,
    }
    amounts = re.findall(r"\$(\d+(?:\.\d+)?)", page)
    assert {amount for amount in amounts if Decimal(amount) not in ALL and amount not in known} == set()
    assert set(made) <= set(amounts)
    for amount, formula in made.items():
        value = totals[formula] if formula in totals else evaluate(formula, as_written)
        assert amount == shown(value, amount), formula


def test_what_a_first_run_costs() -> None:
    page = (DOCS / "first-run.md").read_text(encoding="utf-8")
    (rows,) = (rows for _, header, rows in tables(page) if "A day, if it is forgotten" in header)
    totals = sums("frankfurt")
    for (_, hour, day), link in zip(rows, ("one-host", "a-fleet", "tasks-in-ecs")):
        cents = hour.split()[0]
        assert cents == shown(totals[link] / 730 * 100, cents)
        assert day == f"${shown(totals[link] / 730 * 24, day.strip('$'))}"


def test_other_pages_name_the_same_sums() -> None:
    named = [
        (path.name, amount, link)
        for path in DOCS.glob("*.md")
        for amount, link in re.findall(r"\[\$([\d.]+)\]\(cost\.md#?([\w-]*)\)", path.read_text(encoding="utf-8"))
    ]
    assert len(named) >= 3
    totals = sums("frankfurt")
    assert [one for one in named if one[1] != shown(totals[one[2] or "one-host"], one[1])] == []


def test_each_price_has_a_source_that_a_page_names() -> None:
    used = {price["source"] for price in FILE["prices"].values()} - {"memory"}
    assert used == set(FILE["sources"])
    lines = [line for page in PAGES.values() for line in page.splitlines()]
    unnamed = [
        name
        for name, source in FILE["sources"].items()
        if not any(source["link"] in line and source["as_of"] in line for line in lines)
    ]
    assert not unnamed


def test_where_amazons_registry_costs_less() -> None:
    """The table of when-not.md: what is stored, by the side of what each platform costs with that much in its bucket."""
    (rows,) = (rows for _, header, rows in tables(PAGES["when-not.md"]) if header[0] == "Stored")
    empty = [sums("frankfurt")[link] for link in ("one-host", "the-cheapest-that-is-sane", "a-fleet", "tasks-in-ecs")]
    theirs, ours = as_written("0.10"), as_written("0.0245")
    for row in rows[:-1]:
        stored = Decimal(row[0].split()[0].replace(",", ""))
        expected = [stored * theirs, *(one + stored * ours for one in empty)]
        assert row[1:] == [shown(value, "0.01") for value in expected]
    crossovers = [(one / (theirs - ours)).quantize(Decimal(1), ROUND_CEILING) for one in empty]
    assert rows[-1][2:] == [f"{value:,} GB" for value in crossovers]
