"""The list of FOCUS's columns says what the specification says."""

from __future__ import annotations

from millrace.schemas import focus


def test_the_list_has_all_columns_of_the_version_once_in_its_order() -> None:
    names = [column.name for column in focus.COLUMNS]
    assert (focus.VERSION, len(names)) == ("1.2", 57)
    assert names == sorted(names, key=str)
    assert len(set(names)) == len(names)


def test_types_and_levels_are_the_specifications_own() -> None:
    assert {c.type for c in focus.COLUMNS} == {"String", "Decimal", "Date/Time", "JSON"}
    assert {c.level for c in focus.COLUMNS} == {"Mandatory", "Conditional", "Recommended"}
    mandatory = [c.name for c in focus.COLUMNS if c.level == "Mandatory"]
    assert len(mandatory) == 21
    assert {"BilledCost", "EffectiveCost", "ListCost", "ServiceName"} <= set(mandatory)


def test_only_mandatory_columns_are_excused_and_each_with_a_reason() -> None:
    levels = {name: focus.BY_NAME[name].level for name in focus.ABSENT}
    assert set(levels.values()) == {"Mandatory"}
    assert all(len(why) > 20 for why in (*focus.ABSENT.values(), *focus.NOTES.values()))
    assert set(focus.NOTES) <= set(focus.BY_NAME)
