"""The words of row rules: allowed functions and types, and words that are no bare names."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Deterministic, pure functions of their arguments. `reflect`, `java_method`, `input_file_name`,
# `current_user`, `rand` and the rest of Spark's catalogue stay out.
FUNCTIONS = _words(
    """
    abs array_contains bit_count ceil ceiling char_length coalesce concat contains crc32 date_diff datediff
    day endswith exists floor forall greatest hex if ifnull is_valid_utf8 isnan isnotnull isnull lcase
    least len length lower ltrim mod month nullif nvl octet_length regexp_extract regexp_like
    regexp_replace repeat replace rlike round rtrim size split startswith substr to_date ucase unhex
    upper year
    """
)
SPECIAL = _words("cast try_cast trim substring")  # they have a grammar of their own
ALLOWED = "operators, CASE, and " + ", ".join(sorted(FUNCTIONS | SPECIAL))

# What a value may be cast to, by the parser's names for Spark's types.
TYPES = _words(
    """
    BOOLEAN TINYINT SMALLINT INT BIGINT FLOAT DOUBLE DECIMAL TEXT BINARY DATE TIMESTAMP TIMESTAMPLTZ
    TIMESTAMPTZ TIMESTAMPNTZ
    """
)

# What Spark, or the parser here, may take for something else than a column's name.
RESERVED = _words(
    """
    all and any array as between case cast current_catalog current_database current_date current_schema
    current_time current_timestamp current_user date distinct div else end exists extract false from if
    ilike in interval is like localtimestamp map not null on or position regexp rlike select session_user
    some struct substring table then timestamp timestamp_ltz timestamp_ntz trim true try_cast unknown user
    using values when where
    """
)
UNITS = _words("year quarter month week day hour minute second")  # the first argument of date_diff
PATTERN_AT = {"regexp_extract": 1, "regexp_like": 1, "regexp_replace": 1, "rlike": 1, "split": 1}
