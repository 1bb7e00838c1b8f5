"""The templates of the HTML pages, with what they write numbers, times and states with."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup, escape

_BETWEEN_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=_)(?=.)")
COLOURS = "kinds.css.j2"  # colours of cost kinds and row outcomes, the same on every page
STATES = {  # what people call how a run stands
    "done": "Done",
    "refused": "Refused",
    "failed": "Failed",
    "stopped": "Stopped",
    "started": "Not finished",
    "resumed": "Not finished",
}


def template(name: str, *shown: Callable[..., str]) -> Template:
    """The template of a page; ``shown`` are its filters. A value that is not there is an error."""
    shared = {COLOURS: _text(COLOURS)}
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=DictLoader(shared),
    )  # fmt: skip
    environment.globals["states"] = STATES
    environment.filters["breakable"] = breakable
    environment.filters |= {function.__name__: function for function in shown}
    return environment.from_string(_text(f"{name}.html.j2"))


def breakable(name: str) -> Markup:
    """Escape a name; a line may end between its words."""
    return Markup("<wbr>").join(escape(part) for part in _BETWEEN_WORDS.split(name))


def _text(file: str) -> str:
    return (files("millrace.pipelines.reporting") / "templates" / file).read_text(encoding="utf-8")
