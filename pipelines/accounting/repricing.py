"""The bill of a run at other prices: corrections appended to the ledger, without Spark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from millrace.pipelines.accounting.corrections import (
    ORIGINAL,
    Row,
    current,
    restatements,
    retraction,
    root,
)
from millrace.pipelines.accounting.ledger import SAVED
from millrace.pipelines.accounting.rates import NEAREST, Rate, rate_of
from millrace.pipelines.console.formatting import exact
from millrace.pipelines.lake import delta
from millrace.pipelines.lake.delta_history import Commits
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.run_lookup import the_run
from millrace.pipelines.query.views import tables
from millrace.schemas.errors import RunFailed, UsageError
from millrace.schemas.focus import Category
from millrace.schemas.prices import METERS, PriceBook
from millrace.schemas.tables import LEDGER

Money = dict[str, Decimal]  # by currency


@dataclass(frozen=True)
class PricingOverrides:
    """The machine to price a run as; None: the value that the run's rows have."""

    instance: str | None = None
    region: str | None = None
    category: Category | None = None


@dataclass(frozen=True)
class Repriced:
    """The result of repricing a run: its bill before and after, by currency."""

    run_id: str
    book_version: str
    revision: int | None  # None: nothing was written
    before: Money
    after: Money
    retracted: int = 0  # rows
    restated: int = 0  # rows
    nearest: int = 0  # of those restated: no price of the book covers their time
    unpriceable: int = 0  # rows that no price book prices: another meter, or no time
    is_written: bool = True  # False: a dry run

    @property
    def difference(self) -> Money:
        """The bill after minus the bill before."""
        zero = Decimal(0)
        names = dict.fromkeys([*self.before, *self.after])
        return {name: self.after.get(name, zero) - self.before.get(name, zero) for name in names}

    def as_json(self) -> dict[str, Any]:
        """Return plain values; money as texts, so that no digit is lost."""
        return {
            "run_id": self.run_id,
            "price_book": self.book_version,
            "revision": self.revision if self.is_written else None,
            "before": {name: exact(cost) for name, cost in self.before.items()},
            "after": {name: exact(cost) for name, cost in self.after.items()},
            "difference": {name: exact(cost) for name, cost in self.difference.items()},
            "rows_retracted": self.retracted,
            "rows_restated": self.restated,
            "rows_at_nearest_price": self.nearest,
            "rows_kept": self.unpriceable,
        }


def reprice(
    lake: LakeLocation,
    prefix: str,
    book: PriceBook,
    overrides: PricingOverrides = PricingOverrides(),
    *,
    dry_run: bool = False,
) -> Repriced:
    """Retract the run's rows that ``book`` prices differently, and restate them with its prices.

    Every restatement derives from the original row, so a bill depends on the last book alone, and the
    same book again writes nothing. All corrections are one commit of the ledger; with ``dry_run`` nothing
    is written. Raises UsageError, or RunFailed where another driver corrected the run at the same time.
    """
    tables(lake)  # raises where the folder is no lake
    rows = _rows(lake, the_run(prefix, _runs(lake), lake))
    run_id = str(rows[0]["x_RunId"])
    originals = [row for row in rows if row["x_RecordType"] == ORIGINAL]
    priceable = [row for row in originals if row["SkuMeter"] in METERS and row["ChargePeriodStart"]]
    standing = _by_root(current(rows))
    rates = _Rates(book, overrides)
    wrong = [row for row in priceable if not rates.match(row, standing[row["x_RecordId"]])]
    before, unpriceable = _sums(rows), len(originals) - len(priceable)
    if not wrong:
        return Repriced(run_id, book.version, None, before, before, unpriceable=unpriceable)
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
        unpriceable=unpriceable,
        is_written=not dry_run,
    )


class _Rates:
    """The rate of each original row, found once for each machine that the rows name."""

    def __init__(self, book: PriceBook, overrides: PricingOverrides) -> None:
        self._book, self._overrides = book, overrides
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

    def match(self, original: Row, standing: Sequence[Row]) -> bool:
        """Whether all rows that stand for an original row have this book's prices for this machine."""
        rate = self.of(original)
        expected = (
            rate.book_version,
            rate.instance.sku,
            rate.instance.region,
            rate.instance.category,
        )
        return all(
            expected
            == (row["x_PriceBookVersion"], row["SkuId"], _region(row), row["PricingCategory"])
            for row in standing
        )

    def _machine(self, row: Row) -> tuple[str, str | None, Category]:
        overrides = self._overrides
        sku = overrides.instance or row["SkuId"]
        if sku is None:
            raise UsageError(
                "the run was not priced: its rows name no instance",
                allowed=", ".join(dict.fromkeys(one.sku for one in self._book.instances)),
                next="name one of these with --instance",
            )
        region = overrides.region or _region(row)
        if overrides.instance and not overrides.region:  # another machine may be elsewhere
            there = {one.region for one in self._book.instances if one.sku == sku}
            region = region if region in there else None
        return sku, region, overrides.category or row["PricingCategory"] or "Standard"


def _runs(lake: LakeLocation) -> list[str]:
    """The runs that the ledger has rows of."""
    rows = delta.values(lake, LEDGER, columns=["x_RunId"])
    return sorted({row["x_RunId"] for row in rows})


def _rows(lake: LakeLocation, run_id: str) -> list[Row]:
    """What the run spent, in the order of the rows' ids; a column that an older table lacks is null."""
    found = delta.values(lake, LEDGER, [("x_RunId", "=", run_id), ("x_CostKind", "!=", SAVED)])
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


def _write(lake: LakeLocation, run_id: str, revision: int, rows: Sequence[Row]) -> None:
    """Append the corrections in one commit, and see that they are those that the table has."""
    name = Commits.of(lake, LEDGER.name).name(f"millrace:{run_id}:reprice:{revision}")
    delta.append_values(rows, lake, LEDGER, name)
    there = {row["x_RecordId"]: row for row in _rows(lake, run_id)}
    if any(there.get(row["x_RecordId"]) != row for row in rows):
        raise RunFailed(
            f"run {run_id} was repriced by someone else at the same time",
            got=f"another revision {revision}",
            next="run the same command again: it starts from what is there now",
        )
