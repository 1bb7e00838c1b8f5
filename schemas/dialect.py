"""Spark's SQL for the parser of row rules: calls stay calls, by their own names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from sqlglot.dialects.spark import Spark
from sqlglot.parsers.spark import SparkParser

from millrace.schemas.rule_words import SPECIAL


class Spark4(Spark):
    """Spark's SQL as of version 4, where a doubled quote inside a text is one quote."""

    class Tokenizer(Spark.Tokenizer):
        """Texts end where Spark ends them."""

        STRING_ESCAPES: ClassVar[list[str]] = ["\\", "'", '"']

    class Parser(SparkParser):
        """No function has a meaning here: only Spark resolves them."""

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
