"""Spark's SQL as the parser of row rules reads it: calls stay calls, by the names that they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from sqlglot.dialects.spark import Spark
from sqlglot.parsers.spark import SparkParser

from schemas.rule_words import SPECIAL


class Spark4(Spark):
    """Spark's SQL as of version 4, where a quote that is doubled inside a text stands for itself."""

    class Tokenizer(Spark.Tokenizer):
        """Texts end where Spark ends them."""

        STRING_ESCAPES: ClassVar[list[str]] = ["\\", "'", '"']

    class Parser(SparkParser):
        """No function means anything here: what it means is Spark's to say, and which one is meant too."""

        FUNCTIONS: ClassVar[dict[str, Callable[..., Any]]] = {}
        NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Callable[..., Any]]] = {
            name: parse
            for name, parse in SparkParser.FUNCTION_PARSERS.items()
            if name.lower() in SPECIAL
        }
        NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Callable[..., Any]]] = {
            "CASE": SparkParser.NO_PAREN_FUNCTION_PARSERS["CASE"]
        }
