"""The page about cost: its price book loads, its commands run, its lists are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from millrace.pipelines.accounting.rates import rate_of
from millrace.schemas import focus
from millrace.schemas.config import Cost
from millrace.schemas.prices import Instance, PriceBook
from millrace.schemas.yaml_file import load
from tests.docs.test_snippets import blocks, commands, run
from tests.ledgers import charge, lake_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "COST.md"
TITLED = {block.title: block for block in blocks(PAGE)}


def write_book(folder: Path) -> PriceBook:
    path = folder / "prices.yaml"
    path.write_text(TITLED["prices.yaml"].text)
    return load(path, PriceBook)


def test_the_price_book_on_the_page_loads_and_the_job_finds_its_price_there(tmp_path: Path) -> None:
    book = write_book(tmp_path)
    cost = Cost.model_validate(yaml.safe_load(TITLED["cost.yaml"].text)["cost"])
    found = rate_of(book, cost.instance, category=cost.category, region=cost.region)
    assert [str(one.price_per_hour) for one in found.entries] == ["0.6", "0.72"]
    assert found.gaps(found.entries[0].valid_from, found.entries[1].valid_from) == ()


def test_the_page_lists_every_key_of_an_instance() -> None:
    table = PAGE.read_text("utf-8").split("| key of an instance | |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| (.*?) \|", table, re.MULTILINE)) >= {"`price_per_hour`"}
    listed = {
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert listed == set(Instance.model_fields)


def test_the_page_lists_every_column_that_an_export_lacks() -> None:
    after = PAGE.read_text("utf-8").split("mandatory columns are absent")[1].split("`ListCost`")[0]
    assert set(re.findall(r"`(\w+)`", after)) == set(focus.ABSENT)


def test_the_commands_on_the_page_run_one_after_the_other(tmp_path: Path) -> None:
    write_book(tmp_path)
    example = load(ROOT / "conf" / "prices" / "example.yaml", PriceBook)
    (laptop,) = [one for one in example.instances if one.sku == "laptop"]
    rows = charge(laptop, 1, 90_000, version=example.version, x_RunId="digits-1a2b3c4d-0")
    rows[0] |= {"x_EnergyWh": 0.5, "x_EnergyWhLow": 0.3, "x_EnergyWhHigh": 0.7, "x_CarbonG": 0.2}
    lake_of(tmp_path / "lake", rows)
    (energy,) = (run(words, tmp_path).stdout for words in commands(TITLED["energy"]))
    assert re.search(r"digits-1a2b3c4d-0 +0\.5 +0\.3 +0\.7 +0\.2", energy)

    first, dry, second, answer, exported = (
        run(words, tmp_path).stdout for words in commands(TITLED["commands"])
    )

    assert "revision 1: 2 rows taken back, 2 said again" in first
    assert re.search(r"^before +0\.00002390625 USD$", first, re.MULTILINE)
    assert re.search(r"^after +0\.0000421875 EUR$", first, re.MULTILINE)
    assert "nothing is written" in dry
    assert dry.splitlines()[-3:] == second.splitlines()[-3:]  # before, after, difference
    assert "revision 2: 2 rows taken back, 3 said again" in second  # and the GPU
    assert re.search(r"digits-1a2b3c4d-0 +90\.0 +0\.0011\d+ +EUR", answer)
    assert "FOCUS 1.2, aligned" in exported
    assert (tmp_path / "focus" / "cost_and_usage.csv").is_file()
