"""Formulas of Lens: a small tree of metrics and arithmetic → its text and the helper columns that Kibana keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

MetricName = Literal["count", "sum", "max", "average", "percentile", "unique_count"]

RECORDS: Final = "___records___"
"""The field of Lens that stands for the documents themselves."""

_SIGNS: Final = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}


@dataclass(frozen=True, slots=True)
class Metric:
    """One number from many documents: those that `kql` chooses. `percent` (0 to 100) is for percentiles."""

    name: MetricName
    field: str = RECORDS
    kql: str = ""
    percent: int = 0

    def __truediv__(self, other: Term) -> Arithmetic:
        return Arithmetic("divide", self, other)

    def __sub__(self, other: Term) -> Arithmetic:
        return Arithmetic("subtract", self, other)

    def __add__(self, other: Term) -> Arithmetic:
        return Arithmetic("add", self, other)

    def column(self, label: str) -> dict[str, Any]:
        """The column of Lens that computes it."""
        column: dict[str, Any] = {
            "label": label,
            "customLabel": True,
            "dataType": "number",
            "operationType": self.name,
            "sourceField": self.field,
            "isBucketed": False,
            "scale": "ratio",
            "params": {"percentile": self.percent} if self.name == "percentile" else {"emptyAsNull": False},
        }
        if self.kql:
            column["filter"] = {"query": self.kql, "language": "kuery"}
        return column


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Two terms and what is done with them."""

    name: Literal["add", "subtract", "multiply", "divide"]
    left: Term
    right: Term

    def __truediv__(self, other: Term) -> Arithmetic:
        return Arithmetic("divide", self, other)

    def __sub__(self, other: Term) -> Arithmetic:
        return Arithmetic("subtract", self, other)

    def metrics(self) -> tuple[Metric, ...]:
        """The metrics in it, from left to right."""
        return tuple(
            metric
            for side in (self.left, self.right)
            for metric in ((side,) if isinstance(side, Metric) else side.metrics())
        )


Term = Metric | Arithmetic


def formula_columns(column_id: str, term: Arithmetic, label: str, form: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The columns of a formula: itself first, then one for each metric, then the arithmetic.

    Kibana gives the helpers the ids `{column_id}X0`, `X1`, …
    """
    text = _text(term)
    part = f"Part of {label}"
    helpers = {f"{column_id}X{number}": metric.column(part) for number, metric in enumerate(term.metrics())}
    tree, _ = _tree(term, column_id, 0, 0)
    root = f"{column_id}X{len(helpers)}"
    formula = _own_column(label, "formula", {"formula": text, "isFormulaBroken": False, "format": form}, [root])
    math = _own_column(part, "math", {"tinymathAst": tree}, list(helpers))
    return {column_id: formula, **helpers, root: math}


def _own_column(label: str, operation: str, params: dict[str, Any], references: list[str]) -> dict[str, Any]:
    return {
        "label": label,
        "customLabel": True,
        "dataType": "number",
        "operationType": operation,
        "isBucketed": False,
        "scale": "ratio",
        "params": params,
        "references": references,
    }


def _text(term: Term, inner: bool = False) -> str:
    if isinstance(term, Metric):
        arguments = [] if term.field == RECORDS else [term.field]
        if term.name == "percentile":
            arguments.append(f"percentile={term.percent}")
        if term.kql:
            arguments.append(f"kql='{term.kql}'")
        return f"{term.name}({', '.join(arguments)})"
    text = f"{_text(term.left, True)} {_SIGNS[term.name]} {_text(term.right, True)}"
    return f"({text})" if inner else text


def _tree(term: Arithmetic, column_id: str, first: int, start: int) -> tuple[dict[str, Any], int]:
    """The tree with metrics replaced by the ids of their columns, and the number of the next metric.

    `first` is the number of the first metric in it, `start` where its text begins in the formula.
    """
    arguments: list[Any] = []
    place = start
    for side in (term.left, term.right):
        if isinstance(side, Metric):
            arguments.append(f"{column_id}X{first}")
            first += 1
        else:
            tree, first = _tree(side, column_id, first, place + 1)
            arguments.append(tree)
        place += len(_text(side, True)) + 3
    text = _text(term)
    location = {"min": start, "max": start + len(text)}
    return {"type": "function", "name": term.name, "args": arguments, "location": location, "text": text}, first
