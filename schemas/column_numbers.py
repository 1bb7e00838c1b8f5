"""Checks that a card declares how dates, timestamps and texts become numbers."""

from __future__ import annotations

from collections.abc import Mapping

from millrace.schemas.steps import ColumnsOptions

_UNITS = {"date": ("days",), "timestamp": ("seconds", "microseconds")}


def why_no_number(kinds: Mapping[str, str], options: ColumnsOptions) -> str | None:
    """Return what a card does not declare, or declares in vain, about its inputs; None if it is complete.

    ``kinds`` has the type of each input.
    """
    whys = [
        *(_of_input(name, kind, options) for name, kind in kinds.items()),
        *(_of_option("times", name, kinds, tuple(_UNITS)) for name in options.times),
        *(_of_option("categories", name, kinds, ("string",)) for name in options.categories),
        _of_precision(options),
    ]
    return next(filter(None, whys), None)


def _of_input(name: str, kind: str, options: ColumnsOptions) -> str | None:
    if kind == "string" and name not in options.categories:
        return f"input {name} is string: say categories: {{{name}: {{values: [...]}}}}"
    if kind not in _UNITS:
        return None
    units, unit = _UNITS[kind], options.times.get(name)
    if unit is None:
        return f"input {name} is {kind}: say times: {{{name}: {units[0]}}}"
    if unit not in units:
        return f"input {name} is {kind}, which counts {' or '.join(units)}, not {unit}"
    return None


def _of_option(
    option: str, name: str, kinds: Mapping[str, str], allowed: tuple[str, ...]
) -> str | None:
    kind = kinds.get(name)
    if kind in allowed:
        return None
    what = "no input" if kind is None else kind
    return f"{option} names {name}, which is {what}; allowed: inputs of type {', '.join(allowed)}"


def _of_precision(options: ColumnsOptions) -> str | None:
    """A float holds whole seconds until July 1970: whether later ones are rounded must be said."""
    fine = [name for name, unit in options.times.items() if unit != "days"]
    if not fine or options.type != "float" or options.exact is not None:
        return None
    return (
        f"times: {', '.join(fine)}: a float holds no second after 1970-07-14 for certain; say type: double, "
        "or exact: true or false: instants that a float rounds are row errors, or are rounded"
    )
