"""``millrace reprice``: a run's bill at other prices, beside the one that it had; without Spark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipelines import console, sink
from pipelines.commits import Commits
from pipelines.corrections import ORIGINAL, Row, current, restatements, retraction, root
from pipelines.ledger import SAVED
from pipelines.named import the_run
from pipelines.rate import NEAREST, Rate, rate_of
from pipelines.views import tables
from pipelines.words import exact
from schemas.errors import RunFailed, UsageError
from schemas.focus import Category
from schemas.prices import METERS, PriceBook
from schemas.tables import LEDGER
from schemas.yaml_file import load

Money = dict[str, Decimal]  # by currency


@dataclass(frozen=True)
class Asked:
    """What a run is to be priced as; None: as its rows say."""

    instance: str | None = None
    region: str | None = None
    category: Category | None = None


@dataclass(frozen=True)
class Repriced:
    """What repricing a run came to."""

    run_id: str
    book_version: str
    revision: int | None  # None: nothing was written
    before: Money
    after: Money
    retracted: int = 0  # rows
    restated: int = 0  # rows
    nearest: int = 0  # of those restated: no price of the book covers their time
    kept: int = 0  # rows of the run that no price book prices: another meter, or no time
    is_written: bool = True  # else it was only asked what would come of it


def reprice(
    lake: Path, prefix: str, book: PriceBook, asked: Asked = Asked(), *, dry_run: bool = False
) -> Repriced:
    """Take the run's rows back that ``book`` prices differently, and say them again with its prices.

    Every restatement is made of the original row, so a bill depends on the last book alone, and the
    same book again writes nothing. All of it is one commit of the ledger; with ``dry_run`` nothing is
    written at all. Raises UsageError, or RunFailed where another driver corrected the run at the same time.
    """
    tables(lake)  # which says what is wrong with a folder that is no lake
    rows = _rows(lake, the_run(prefix, _runs(lake), lake))
    run_id = str(rows[0]["x_RunId"])
    originals = [row for row in rows if row["x_RecordType"] == ORIGINAL]
    priceable = [row for row in originals if row["SkuMeter"] in METERS and row["ChargePeriodStart"]]
    standing = _by_root(current(rows))
    rates = _Rates(book, asked)
    wrong = [row for row in priceable if not rates.hold(row, standing[row["x_RecordId"]])]
    before, kept = _sums(rows), len(originals) - len(priceable)
    if not wrong:
        return Repriced(run_id, book.version, None, before, before, kept=kept)
    revision = max(row["x_Revision"] or 0 for row in rows) + 1
    back = [retraction(row, revision) for one in wrong for row in standing[one["x_RecordId"]]]
    again = list(restatements(wrong, [rates.of(one) for one in wrong], originals, revision))
    if not dry_run:
        _write(lake, run_id, revision, [*back, *again])
    return Repriced(
        run_id,
        book.version,
        revision,
        before,
        after=_sums([*rows, *back, *again]),
        retracted=len(back),
        restated=len(again),
        nearest=sum(NEAREST in (row["x_Quality"] or "") for row in again),
        kept=kept,
        is_written=not dry_run,
    )


class _Rates:
    """The rate of each original row, found once for each machine that the rows name."""

    def __init__(self, book: PriceBook, asked: Asked) -> None:
        self._book, self._asked = book, asked
        self._known: dict[tuple[str, str | None, Category], Rate] = {}

    def of(self, row: Row) -> Rate:
        """The prices by which a row is to be priced. Raises UsageError."""
        machine = self._machine(row)
        if machine not in self._known:
            sku, region, category = machine
            self._known[machine] = rate_of(
                self._book, sku, category=category, region=region, option="--{}"
            )
        return self._known[machine]

    def hold(self, original: Row, standing: Sequence[Row]) -> bool:
        """Whether all that stands for an original row is priced by this book, and as this machine."""
        rate = self.of(original)
        wanted = (
            rate.book_version,
            rate.instance.sku,
            rate.instance.region,
            rate.instance.category,
        )
        return all(
            wanted
            == (row["x_PriceBookVersion"], row["SkuId"], _region(row), row["PricingCategory"])
            for row in standing
        )

    def _machine(self, row: Row) -> tuple[str, str | None, Category]:
        asked = self._asked
        sku = asked.instance or row["SkuId"]
        if sku is None:
            raise UsageError(
                "the run was not priced: its rows name no instance",
                allowed=", ".join(dict.fromkeys(one.sku for one in self._book.instances)),
                next="name one of these with --instance",
            )
        region = asked.region or _region(row)
        if asked.instance and not asked.region:  # another machine may be elsewhere
            there = {one.region for one in self._book.instances if one.sku == sku}
            region = region if region in there else None
        return sku, region, asked.category or row["PricingCategory"] or "Standard"


def command(
    lake: Path, run: str, prices: Path, asked: Asked, *, dry_run: bool, as_json: bool
) -> None:
    """Reprice a run, and print what it cost, what it costs now, and the difference."""
    done = reprice(lake, run, load(prices, PriceBook), asked, dry_run=dry_run)
    if as_json:
        console.print_json(as_object(done))
    else:
        for line in _lines(done):
            console.echo(line)


def as_object(done: Repriced) -> dict[str, Any]:
    """What `reprice` came to as one object; money as texts, so that no digit is lost."""
    return {
        "run_id": done.run_id,
        "price_book": done.book_version,
        "revision": done.revision if done.is_written else None,
        "before": {name: exact(cost) for name, cost in done.before.items()},
        "after": {name: exact(cost) for name, cost in done.after.items()},
        "difference": {name: exact(cost) for name, cost in _difference(done).items()},
        "rows_retracted": done.retracted,
        "rows_restated": done.restated,
        "rows_at_nearest_price": done.nearest,
        "rows_kept": done.kept,
    }


def _lines(done: Repriced) -> Iterator[str]:
    what = "nothing was written: the run is at these prices already"
    if not done.is_written:
        what = "nothing is written: this is what the bill would come to"
    elif done.revision is not None:
        what = (
            f"revision {done.revision}: {done.retracted:,} rows taken back, "
            f"{done.restated:,} said again"
        )
    yield f"run {done.run_id}, price book {done.book_version}"
    yield what
    yield f"before      {_told(done.before)}"
    yield f"after       {_told(done.after)}"
    yield f"difference  {_told(_difference(done))}"
    if done.nearest:
        yield f"note        {done.nearest:,} rows: no price for their time, the nearest applied"
    if done.kept:
        yield f"note        {done.kept:,} rows keep what they say: no price book prices their meter"


def _told(money: Money) -> str:
    return ", ".join(f"{exact(cost)} {name}" for name, cost in money.items()) or "not priced"


def _difference(done: Repriced) -> Money:
    zero = Decimal(0)
    names = dict.fromkeys([*done.before, *done.after])
    return {name: done.after.get(name, zero) - done.before.get(name, zero) for name in names}


def _runs(lake: Path) -> list[str]:
    """The runs that the ledger has rows of."""
    rows = sink.values(lake, LEDGER, columns=["x_RunId"])
    return sorted({row["x_RunId"] for row in rows})


def _rows(lake: Path, run_id: str) -> list[Row]:
    """What the run spent, in the order of the rows' ids; a column that an older table lacks is null."""
    found = sink.values(lake, LEDGER, [("x_RunId", "=", run_id), ("x_CostKind", "!=", SAVED)])
    rows = [{column.name: row.get(column.name) for column in LEDGER.columns} for row in found]
    return sorted(rows, key=lambda row: str(row["x_RecordId"]))


def _by_root(rows: Sequence[Row]) -> dict[str, list[Row]]:
    standing: dict[str, list[Row]] = {}
    for row in rows:
        standing.setdefault(root(row), []).append(row)
    return standing


def _region(row: Row) -> str | None:
    """The region in a row's price id, which is sku/region/meter."""
    parts = str(row["SkuPriceId"] or "").split("/")
    return parts[1] if len(parts) == 3 else None  # noqa: PLR2004


def _sums(rows: Sequence[Row]) -> Money:
    """What the rows come to in each currency; one in which nothing stands is left out."""
    totals: Money = {}
    stands = {row["BillingCurrency"] for row in current(rows)}
    for row in rows:
        name, cost = row["BillingCurrency"], row["EffectiveCost"]
        if cost is not None and name in stands:
            totals[name] = totals.get(name, Decimal(0)) + cost
    return dict(sorted(totals.items()))


def _write(lake: Path, run_id: str, revision: int, rows: Sequence[Row]) -> None:
    """Append the corrections in one commit, and see that they are those that the table has."""
    name = Commits.of(lake, LEDGER.name).name(f"millrace:{run_id}:reprice:{revision}")
    sink.append_values(rows, lake, LEDGER, name)
    there = {row["x_RecordId"]: row for row in _rows(lake, run_id)}
    if any(there.get(row["x_RecordId"]) != row for row in rows):
        raise RunFailed(
            f"run {run_id} was repriced by someone else at the same time",
            got=f"another revision {revision}",
            next="run the same command again: it starts from what is there now",
        )
