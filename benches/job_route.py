"""The route of a job through the code, counted in the text of the program; nothing is run.

A reader starts in `run/runner.run` and follows the calls in the order of the text. How many modules does
the reader open, and how often is it one that was opened before?

*A stop* is a call from one module into another; calls in a row into one module are one stop. A stop in a
module that had a stop before is a *return*. Each function is read once. A call inside a module is followed
and is no stop: the reader is there. A function that is passed on, as to a thread, counts where it is passed.
A property reads as a field, and is no call.

*The level* is that of the story: calls of the module that runs a job, and of the modules which once were
parts of it (`OPENS`), so that moving text out of the runner does not shorten the route. What a stage
does inside is the stage's own story: its name and docstring are enough to follow the job. ``--opens`` reads
more of them.

*Vocabulary* is no stop: `schemas/`, `console/`, and the parts of `spark/` that stand for Spark itself.

``python -m benches.job_route`` counts this tree. Of the tree before the packages:
``--tree OLD --start pipelines.score:run --prefix "" --opens ""``.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

START = "millrace.pipelines.run.runner:run"
OPENS = {"pipelines.run.claiming", "pipelines.run.failure"}  # parts of the runner, once
VOCABULARY = (
    "schemas", "pipelines.console", "pipelines.lake.location", "pipelines.spark.cluster",
    "pipelines.spark.concurrency", "pipelines.spark.error_translation", "pipelines.spark.session",
    "udfs.engine.fault_injection",
    # the same, in the tree before the packages
    "pipelines.progress", "pipelines.tally", "pipelines.signals", "pipelines.command_session",
    "pipelines.place", "pipelines.beside", "pipelines.faults", "pipelines.session", "udfs.failpoint",
)  # fmt: skip

Function = tuple[str, str]  # module, qualified name


@dataclass
class Module:
    """What one file defines and imports."""

    name: str
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)


class Tree:
    """The project's modules below a folder, and what a name in one of them means."""

    def __init__(self, root: Path, prefix: str) -> None:
        self.root, self.prefix = root, prefix

    @cache  # noqa: B019 - one tree a process
    def module(self, name: str) -> Module | None:
        path = self.root / (name.removeprefix(self.prefix).replace(".", "/") + ".py")
        if not path.is_file():
            return None
        made = Module(name)
        for node in ast.walk(parsed := ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                for one in node.names:
                    inner = f"{node.module}.{one.name}"
                    is_module = self.module(inner) is not None if self._is_ours(inner) else False
                    made.imports[one.asname or one.name] = (
                        (inner, None) if is_module else (node.module, one.name)
                    )
        for node in parsed.body:
            if isinstance(node, ast.FunctionDef):
                made.functions[node.name] = node
            elif isinstance(node, ast.ClassDef):
                made.classes[node.name] = node
                for part in node.body:
                    if isinstance(part, ast.FunctionDef):
                        made.functions[f"{node.name}.{part.name}"] = part
        return made

    def _is_ours(self, name: str) -> bool:
        return name.removeprefix(self.prefix).split(".")[0] in ("pipelines", "udfs", "schemas")

    def meaning(self, module: Module, name: str) -> tuple[Module, str | None] | None:
        """Where a name of a module is defined, and as what there; as None it is a module."""
        if name in module.functions or name in module.classes:
            return module, name
        if name not in module.imports:
            return None
        where, what = module.imports[name]
        found = self.module(where) if self._is_ours(where) else None
        if found is None:
            return None
        if what is None:
            return found, None
        return self.meaning(found, what)

    def is_property(self, function: Function) -> bool:
        """Whether a function reads as a field."""
        module = self.module(function[0])
        node = module.functions.get(function[1]) if module else None
        return node is not None and any("property" in ast.unparse(d) for d in node.decorator_list)

    def kind(self, module: Module, node: ast.expr | None) -> Function | None:
        """The class that an annotation names; of Iterator[X] or X | None it is X."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        if isinstance(node, ast.Subscript):
            return self.kind(module, node.slice)
        if isinstance(node, ast.BinOp):
            return self.kind(module, node.left)
        if isinstance(node, ast.Name) and (found := self.meaning(module, node.id)):
            where, what = found
            return (where.name, what) if what in where.classes else None
        return None


class Reader:
    """One reading of the program, in the order of the text."""

    def __init__(self, tree: Tree, opens: set[str], vocabulary: tuple[str, ...]) -> None:
        self.tree, self.opens, self.vocabulary = tree, opens, vocabulary
        self.seen: set[Function] = set()
        self.stops: list[tuple[str, str]] = []  # module, first function called there

    def follow(self, at: Function) -> None:
        """Read a function, and those that it calls."""
        module = self.tree.module(at[0])
        if module is None or (node := module.functions.get(at[1])) is None:
            return
        for target in self._called(module, at[1], node):
            if target in self.seen or self.tree.is_property(target):
                continue
            self.seen.add(target)
            short = target[0].removeprefix(self.tree.prefix)
            if short.startswith(self.vocabulary):
                continue
            if target[0] != at[0] and (not self.stops or self.stops[-1][0] != short):
                self.stops.append((short, target[1]))
            if target[0] == at[0] or short in self.opens:
                self.follow(target)

    def _called(self, module: Module, name: str, node: ast.FunctionDef) -> Iterator[Function]:
        kinds = self._kinds(module, name, node)
        uses = [one for one in ast.walk(node) if isinstance(one, ast.Name | ast.Attribute)]
        annotations = {
            id(inner)
            for one in ast.walk(node)
            for note in (getattr(one, "annotation", None), getattr(one, "returns", None))
            if note is not None
            for inner in ast.walk(note)
        }
        for use in sorted(
            uses, key=lambda one: (one.lineno, one.col_offset, -(one.end_col_offset or 0))
        ):
            if id(use) not in annotations and (found := self._meant(module, use, kinds)):
                yield found

    def _meant(self, module: Module, use: ast.expr, kinds: dict[str, Function]) -> Function | None:
        if isinstance(use, ast.Name):
            found = None if use.id in kinds else self.tree.meaning(module, use.id)
            if found and found[1] and found[1] in found[0].functions:
                return found[0].name, found[1]
            return None
        assert isinstance(use, ast.Attribute)
        if isinstance(use.value, ast.Name) and use.value.id not in kinds:
            found = self.tree.meaning(module, use.value.id)
            if found is None:
                return None
            where, what = found
            name = use.attr if what is None else f"{what}.{use.attr}"
            there = self.tree.meaning(where, use.attr) if what is None else (where, name)
            if there is None or there[1] is None or there[1] not in there[0].functions:
                return None
            return there[0].name, there[1]
        return self._method(module, use, kinds)

    def _method(
        self, module: Module, use: ast.Attribute, kinds: dict[str, Function]
    ) -> Function | None:
        """The method of a value whose class is known."""
        kind = self._type(module, use.value, kinds)
        owner = self.tree.module(kind[0]) if kind else None
        if kind is None or owner is None:
            return None
        name = f"{kind[1]}.{use.attr}"
        return (owner.name, name) if name in owner.functions else None

    def _type(self, module: Module, node: ast.expr, kinds: dict[str, Function]) -> Function | None:
        """The class of an expression, as far as annotations say."""
        if isinstance(node, ast.Name):
            return kinds.get(node.id)
        if isinstance(node, ast.Attribute):
            kind = self._type(module, node.value, kinds)
            owner = self.tree.module(kind[0]) if kind else None
            if kind is None or owner is None:
                return None
            fields = [
                part
                for part in owner.classes[kind[1]].body
                if isinstance(part, ast.AnnAssign) and getattr(part.target, "id", "") == node.attr
            ]
            return self.tree.kind(owner, fields[0].annotation) if fields else None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            made = self._meant(module, node.func, kinds)
            if made and (there := self.tree.module(made[0])):
                return self.tree.kind(there, there.functions[made[1]].returns)
            if isinstance(node.func, ast.Name):
                return self.tree.kind(module, node.func)
        return None

    def _kinds(self, module: Module, name: str, node: ast.FunctionDef) -> dict[str, Function]:
        """The classes of parameters and of what calls give."""
        found: dict[str, Function] = {}
        if "." in name:
            found["self"] = (module.name, name.partition(".")[0])
        for one in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
            if kind := self.tree.kind(module, one.annotation):
                found[one.arg] = kind
        for target, value in _assignments(node):
            if isinstance(target, ast.Name) and (kind := self._type(module, value, found)):
                found[target.id] = kind
            elif isinstance(target, ast.Tuple) and isinstance(value, ast.Call):
                found |= self._of_tuple(module, target, value, found)
        return found

    def _of_tuple(
        self, module: Module, target: ast.Tuple, call: ast.Call, kinds: dict[str, Function]
    ) -> dict[str, Function]:
        made = self._meant(module, call.func, kinds)
        there = self.tree.module(made[0]) if made else None
        if made is None or there is None:
            return {}
        returns = there.functions[made[1]].returns
        if not isinstance(returns, ast.Subscript) or not isinstance(returns.slice, ast.Tuple):
            return {}
        parts = zip(target.elts, returns.slice.elts, strict=False)
        named = {
            name.id: self.tree.kind(there, note)
            for name, note in parts
            if isinstance(name, ast.Name)
        }
        return {name: kind for name, kind in named.items() if kind}


def _assignments(node: ast.FunctionDef) -> Iterator[tuple[ast.expr | None, ast.expr]]:
    for one in ast.walk(node):
        match one:
            case (
                ast.Assign(targets=[target], value=value)
                | ast.NamedExpr(target=target, value=value)
            ):
                yield target, value.body if isinstance(value, ast.IfExp) else value
            case ast.withitem(context_expr=value, optional_vars=target):
                yield target, value


def route(root: Path, start: Function, opens: set[str], prefix: str) -> list[tuple[str, str]]:
    """The stops of a reading: each a module, and the function by which it is entered."""
    reader = Reader(Tree(root, prefix), opens, VOCABULARY)
    reader.follow(start)
    return reader.stops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--start", default=START, help="module:function")
    parser.add_argument("--prefix", default="millrace.", help="of the tree's own imports")
    parser.add_argument(
        "--opens", default=",".join(sorted(OPENS)), help="modules that are opened too"
    )
    asked = parser.parse_args()
    module, _, function = asked.start.partition(":")
    stops = route(asked.tree, (module, function), set(asked.opens.split(",")), asked.prefix)
    for name, entered in stops:
        print(f"{name}: {entered}")
    files = {name for name, _ in stops}
    print(f"{len(stops)} stops in {len(files)} modules, {len(stops) - len(files)} returns")


if __name__ == "__main__":
    main()
