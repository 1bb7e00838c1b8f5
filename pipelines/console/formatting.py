"""Numbers, times and sums as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

NONE = "\u2013"  # a dash where there is no number
PLACES = 12  # decimals of the ledger


def count(value: int | None) -> str:
    """A whole number with its thousands apart."""
    return NONE if value is None else f"{value:,}"


def exact(value: Decimal | float | None) -> str:
    """Every digit, and no exponent."""
    if value is None:
        return "unknown"
    text = f"{Decimal(str(value)):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def money(value: Decimal | None, like: Decimal | None = None) -> str:
    """Three digits that count, two decimals from 1 on; with `like`, its decimals and two more."""
    if value is None:
        return NONE
    value, model = Decimal(value), Decimal(value if like is None else like)
    if not value:
        return "0"
    places = 2 if abs(model) >= 1 or not model else 2 - model.adjusted()
    return f"{value:,.{places if like is None else min(PLACES, places + 2)}f}"


def rough(value: Decimal) -> str:
    """Money where a glance will do: two digits that count, two decimals from 1 on."""
    if not value:
        return "0"
    places = 2 if abs(value) >= 1 else 1 - value.adjusted()
    return f"{value:,.{places}f}"


def energy(wh: float | None) -> str:
    """Watt-hours in the unit that fits."""
    if wh is None:
        return NONE
    for unit, size_wh in (("kWh", 1000), ("Wh", 1), ("mWh", 0.001)):
        if wh >= size_wh:
            return f"{_three(wh / size_wh)} {unit}"
    return f"{_three(wh * 1000)} mWh"


def carbon(grams: float | None) -> str:
    """CO2 equivalent in the unit that fits."""
    if grams is None:
        return NONE
    return f"{_three(grams / 1000)} kg CO2e" if grams >= 1000 else f"{_three(grams)} g CO2e"  # noqa: PLR2004


def drawn(wh: float | None, low: float | None, high: float | None, carbon_g: float | None) -> str:
    """Energy with its bounds, and what it emitted."""
    if wh is None:
        return "not known: the price book does not say what the machine draws"
    bounds = f"{energy(wh)} ({energy(low)} to {energy(high)})"
    return f"{bounds}, {carbon(carbon_g)}" if carbon_g is not None else bounds


def _three(value: float) -> str:
    """Three digits that count."""
    return money(Decimal(repr(value))) if value < 100 else f"{value:,.0f}"  # noqa: PLR2004


def percent(share: float | None) -> str:
    """A share of 0 to 1; what is small, but there, is not shown as 0, nor what is not all as 100."""
    if share is None:
        return NONE
    if 0 < share < 0.001 or 0.999 < share < 1:  # noqa: PLR2004 - a digit of the page
        return "<0.1%" if share < 0.5 else ">99.9%"  # noqa: PLR2004
    return f"{100 * share:.1f}".removesuffix(".0") + "%"


def seconds(value: float | None) -> str:
    """Seconds to the millisecond, which is what the ledger has."""
    return NONE if value is None else f"{value:,.3f}"


def duration(value: float) -> str:
    """A time as people say it."""
    minutes, whole = divmod(round(value), 60)
    if value < 1:
        return f"{1000 * value:.0f} ms"
    if value < 10:  # noqa: PLR2004 - a second of it is much
        return f"{value:.1f} s"
    if not minutes:
        return f"{whole} s"
    return f"{minutes} min {whole} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004


def size(value: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:  # noqa: PLR2004 - SI
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def input_lines(pinned: Mapping[str, Any]) -> list[str]:
    """What is read of a source, and a line for each rule that leaves files of its folder out."""
    read = f"{_files(pinned['files'])}, {pinned['bytes']:,} bytes"
    if pinned["version"] is not None:
        return [f"version {pinned['version']}, {read}"]
    if empty := pinned.get("empty_files"):
        read += f"; {empty:,} of 0 bytes"
    ignored = pinned.get("ignored", ())
    return [read, *(f"{_files(one['files'])} ignored, {_rule(one)}" for one in ignored)]


def _files(count: int) -> str:
    return f"{count:,} file" + "s" * (count != 1)


def _rule(ignored: Mapping[str, Any]) -> str:
    more = ", ..." if ignored["files"] > len(ignored["first"]) else ""
    return f"{ignored['rule']} ({', '.join(ignored['first'])}{more})"


def gates_text(gates: Iterable[Any]) -> str:
    """How many gates passed, which were not checked, and why; of objects, or as the table has them."""
    rows = [gate if isinstance(gate, Mapping) else vars(gate) for gate in gates]
    passed = f"{sum(gate['passed'] is True for gate in rows)} of {len(rows)} gates passed"
    unknown = [f"{gate['name']} ({gate['got']})" for gate in rows if gate["passed"] is None]
    return f"{passed}; not checked: {'; '.join(unknown)}" if unknown else passed


def moment(at: datetime | None) -> str:
    """A time of UTC to the second."""
    return "unknown" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def day(at: datetime | None) -> str:
    """A time of UTC to the minute, as people write it."""
    return "" if at is None else f"{at.day} {at.astimezone(UTC):%B %Y, %H:%M} UTC"
