"""The templates of the HTML pages, with what they write numbers, times and states with."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template

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
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["states"] = STATES
    environment.filters |= {function.__name__: function for function in shown}
    text = (files("pipelines") / "templates" / f"{name}.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text)
