"""Expressions of the rule language, and rows to evaluate them over: what two engines are compared by."""

from __future__ import annotations

import itertools
import math
import random
import struct

import pyarrow as pa

INTS = [None, 0, 1, -1, 7, 42, -128, 2**15, 2**31 - 1, -(2**31)]
LONGS = [None, 0, 1, -1, 7, 10**9, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
DOUBLES = [
    None, 0.0, -0.0, 1.0, -1.5, 0.1, 2.5, 3.5, -2.5, 1e-300, 1e300, 1e15 + 0.5, 123456.789,
    math.nan, math.inf, -math.inf,
]  # fmt: skip
TEXTS = [
    None, "", " ", "a", "A", "abc", "ABC", " a b ", "\ta\n", "ham", "spam", "1", "-7", "1.5", " 42 ", "1e3",
    "true", "TRUE", "no", "2024-02-29", "2023-02-29", "2024-2-9", "1999-12-31 23:59:59", "ß", "İ", "ﬁ",
    "é", "é", "日本語", "😀", "a😀b", "null", "NaN", "0x1F", "a,b,,c", "aXbXc", "%", "_", "a_c", "\\",
    "x" * 300,
]  # fmt: skip
BYTES = [None, b"", b"\x00", b"a", b"abc", b"\xff\xfe", bytes(range(256)), "é".encode(), b"\x80"]
FLAGS = [None, True, False]


def rows(count: int, seed: int) -> pa.Table:
    """Edge values together with random ones of each column: ``n`` to number the rows, ``i j l m d e s t b o``."""
    draw = random.Random(seed)

    def some(edges: list[object], more: object) -> list[object]:
        return [draw.choice(edges) if draw.random() < 0.7 else more() for _ in range(count)]  # type: ignore[operator]

    def text() -> str:
        return "".join(draw.choice("abcABC 019_-,.%é😀") for _ in range(draw.randrange(12)))

    def number() -> float:
        return struct.unpack("<d", draw.randbytes(8))[0]  # type: ignore[no-any-return]

    return pa.table(
        {
            "n": pa.array(range(count), pa.int64()),
            "i": pa.array(some(INTS, lambda: draw.randrange(-(2**31), 2**31)), pa.int32()),
            "j": pa.array(some(INTS, lambda: draw.randrange(-100, 100)), pa.int32()),
            "l": pa.array(some(LONGS, lambda: draw.randrange(-(2**63), 2**63)), pa.int64()),
            "m": pa.array(some(LONGS, lambda: draw.randrange(-1000, 1000)), pa.int64()),
            "d": pa.array(some(DOUBLES, number), pa.float64()),
            "e": pa.array(some(DOUBLES, lambda: draw.uniform(-100, 100)), pa.float64()),
            "s": pa.array(some(TEXTS, text), pa.string()),
            "t": pa.array(some(TEXTS, text), pa.string()),
            "b": pa.array(some(BYTES, lambda: draw.randbytes(draw.randrange(6))), pa.binary()),
            "o": pa.array([draw.choice(FLAGS) for _ in range(count)], pa.bool_()),
        }
    )


_PAIRS = [
    ("i", "j"),
    ("l", "m"),
    ("d", "e"),
    ("i", "m"),
    ("l", "e"),
    ("s", "t"),
    ("b", "b"),
    ("o", "o"),
]
_NUMBERS = [
    ("i", "j"),
    ("l", "m"),
    ("d", "e"),
    ("i", "m"),
    ("l", "e"),
    ("i", "3"),
    ("d", "2"),
    ("d", "0.5"),
]
_COMPARISONS = ["=", "<>", "<=>", "<", "<=", ">", ">="]
_LITERALS = [
    ("i", "7"), ("l", "7"), ("i", "9223372036854775807"), ("d", "0.1"), ("d", "7"), ("d", "-1"), ("d", "1e0"),
    ("d", "9007199254740993"), ("d", "1e-300"), ("s", "'abc'"), ("t", "''"), ("s", "'é'"), ("o", "true"),
]  # fmt: skip


def operators() -> list[tuple[str, str]]:
    """By name, expressions of every operator of the rule language."""
    found = [(op, f"{a} {op} {b}") for op, (a, b) in itertools.product(_COMPARISONS, _PAIRS)]
    found += [(op, f"{a} {op} {lit}") for op in _COMPARISONS for a, lit in _LITERALS]
    found += [(op, f"{a} {op} {b}") for op, (a, b) in itertools.product("+-*/%", _NUMBERS)]
    found += [("neg", f"-{name}") for name in "ild"]
    found += [
        ("and", "o AND i > 0"),
        ("or", "o OR i > 0"),
        ("not", "NOT o"),
        ("not", "NOT (i > 0 OR d > 0)"),
    ]
    for name, low, high in [
        ("i", "0", "23"),
        ("l", "-1", "9"),
        ("d", "0.0", "1.0"),
        ("s", "'a'", "'b'"),
    ]:
        found.append(("between", f"{name} BETWEEN {low} AND {high}"))
        found.append(("between", f"{name} NOT BETWEEN {low} AND {high}"))
    for name, values in [
        ("i", "0, 1, 7"),
        ("l", "1, 7"),
        ("d", "0.0, 0.1"),
        ("s", "'ham', 'spam', ''"),
    ]:
        found += [("in", f"{name} IN ({values})"), ("in", f"{name} NOT IN ({values})")]
    found += [
        ("in", "d IN (0, 1, 7)"),
        ("in", "s IN ('a', NULL)"),
        ("between", "d BETWEEN 0 AND 1"),
    ]
    found += [("between", "d BETWEEN -1e0 AND l"), ("null", "i > NULL"), ("null", "s = NULL OR o")]
    found += [("is null", f"{name} IS NULL") for name in "ildsbo"]
    found += [("is null", f"{name} IS NOT NULL") for name in "ildsbo"]
    found += [("is true", f"o IS {word}") for word in ("TRUE", "NOT TRUE", "FALSE", "NOT FALSE")]
    found += [("like", f"s LIKE '{p}'") for p in ("a%", "%b%", "_", "a\\\\_c", "", "%")]
    found += [("ilike", f"s ILIKE '{p}'") for p in ("a%", "%B%", "ß")]
    found += [
        ("rlike", f"s RLIKE '{p}'") for p in (r"^[a-z]+$", r"\\d", "^$", ".", r"\\s", r"\\w+", "é")
    ]
    found += [("||", "s || t"), ("||", "s || 'x'")]
    found += [
        ("case", "CASE WHEN i > 0 THEN s WHEN o THEN t END"),
        ("case", "CASE i WHEN 0 THEN 1 WHEN 1 THEN 2 ELSE 3 END"),
        ("if", "if(o, i, j)"),
    ]
    return found


_ONE = {
    "abs": "ild", "bit_count": "ilo", "ceil": "ild", "ceiling": "d", "floor": "ild", "char_length": "sb",
    "crc32": "b", "hex": "ilsb", "isnan": "d", "isnotnull": "ildsbo", "isnull": "ildsbo", "lcase": "s",
    "len": "sb", "length": "sb", "lower": "s", "ltrim": "s", "octet_length": "sb", "round": "ild",
    "rtrim": "s", "trim": "s", "ucase": "s", "unhex": "s", "upper": "s", "is_valid_utf8": "s",
}  # fmt: skip


def functions() -> list[tuple[str, str]]:
    """By name, calls of every function of the rule language over these types."""
    found = [(name, f"{name}({column})") for name, columns in _ONE.items() for column in columns]
    for name in ("coalesce", "ifnull", "nvl", "nullif", "greatest", "least"):
        found += [(name, f"{name}({a}, {b})") for a, b in _PAIRS if a != "b"]
    found += [
        (name, f"{name}(s, {v})")
        for name in ("contains", "startswith", "endswith")
        for v in ("t", "'a'")
    ]
    found += [
        ("concat", "concat(s, t)"),
        ("concat", "concat(s, 'x', t)"),
        ("mod", "mod(i, j)"),
        ("mod", "mod(d, e)"),
    ]
    found += [
        ("mod", "mod(l, 7)"),
        ("round", "round(d, 2)"),
        ("round", "round(d, -1)"),
        ("round", "round(i, -1)"),
    ]
    found += [(name, f"{name}(s, {at}, {size})") for name in ("substr", "substring") for at, size in
              ((1, 2), (0, 2), (-2, 1), (2, 100), (1, 0), (1, -1))]  # fmt: skip
    found += [(name, f"{name}(b, 1, 2)") for name in ("substr", "substring")]
    found += [
        ("regexp_extract", f"regexp_extract(s, '{p}', {g})")
        for p, g in (("([a-z]+)", 1), (r"(\\d)(\\d*)", 0))
    ]
    found += [("regexp_like", f"regexp_like(s, '{p}')") for p in ("^a", "[0-9]+$")]
    found += [
        ("regexp_replace", f"regexp_replace(s, '{p}', '{r}')")
        for p, r in (("[aA]", "-"), (r"\\s+", ""))
    ]
    found += [
        ("replace", "replace(s, 'a', 'bb')"),
        ("replace", "replace(s, 'X')"),
        ("repeat", "repeat(s, 3)"),
    ]
    found += [("repeat", "repeat(s, 0)"), ("repeat", "repeat(s, -1)")]
    found += [
        ("unhex", "unhex(hex(b))"),
        ("unhex", "unhex(t)"),
        ("unhex", "b <> unhex(repeat('00', 5))"),
    ]
    found += [("hex", "endswith(hex(b), '00')"), ("unhex", "unhex('61') <= b")]
    found += [
        ("split", "split(s, ',')"),
        ("split", "split(s, 'X', 2)"),
        ("size", "size(split(s, ','))"),
    ]
    found += [
        ("array_contains", "array_contains(split(s, ','), 'b')"),
        ("exists", "exists(split(s, ','), x -> x = 'b')"),
    ]
    found += [("forall", "forall(split(s, ','), x -> length(x) > 0)")]
    found += [
        ("to_date", "to_date(s)"),
        ("year", "year(to_date(s))"),
        ("month", "month(to_date(s))"),
    ]
    found += [
        ("day", "day(to_date(s))"),
        ("datediff", "datediff(DATE'2024-03-01', DATE'2024-02-28')"),
    ]
    found += [("date_diff", "date_diff(DATE'2024-03-01', DATE'2024-02-28')")]
    return found


_CASTS = [
    "boolean",
    "tinyint",
    "smallint",
    "int",
    "bigint",
    "float",
    "double",
    "decimal(10,2)",
    "string",
    "binary",
    "date",
]


def casts() -> list[tuple[str, str]]:
    """By name, such as ``try_cast string as int``, every cast between these types."""
    sources = {
        "i": "int",
        "l": "bigint",
        "d": "double",
        "s": "string",
        "b": "binary",
        "o": "boolean",
    }
    return [
        (f"{how} {kind} as {to}", f"{how}({name} AS {to})")
        for how in ("cast", "try_cast")
        for name, kind in sources.items()
        for to in _CASTS
    ]
