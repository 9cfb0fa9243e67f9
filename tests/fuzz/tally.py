"""What was asked and answered: cases by operation and class of status, and what was wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator

NO_ANSWER = "no answer"


@dataclass
class Tally:
    """Sums of many cases; `faults` holds one example of each kind."""

    by_source: Counter[str] = field(default_factory=Counter)
    by_operation: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def cases(self) -> int:
        return sum(self.by_source.values())

    def count(self, source: str, operation: str, status: int | None) -> None:
        self.by_source[source] += 1
        self.by_operation[operation, f"{status // 100}xx" if status else NO_ANSWER] += 1

    def blame(self, kind: str, example: str) -> None:
        self.wrong[kind] += 1
        self.faults.setdefault(kind, example)

    def add(self, other: Tally) -> None:
        self.by_source += other.by_source
        self.by_operation += other.by_operation
        self.wrong += other.wrong
        self.faults = other.faults | self.faults

    def report(self) -> dict[str, Any]:
        rows: dict[str, dict[str, int]] = {}
        for (operation, status), number in sorted(self.by_operation.items()):
            rows.setdefault(operation, {})[status] = number
        statuses: Counter[str] = Counter()
        for (_, status), number in self.by_operation.items():
            statuses[status] += number
        return {
            "cases": self.cases,
            "cases_by_source": dict(self.by_source),
            "cases_by_status": dict(sorted(statuses.items())),
            "5xx": statuses["5xx"],
            "wrong_by_kind": dict(self.wrong),
            "cases_by_operation": rows,
        }


class Document:
    """An OpenAPI document that answers are held against."""

    def __init__(self, document: dict[str, Any]):
        self._paths = document["paths"]
        self._whole = {"components": document["components"]}

    def fault(self, operation: str, status: int, kind: str, body: Any) -> str:
        """Why an answer is none that the document tells of; empty when it is. `operation` is "POST /path", `kind` the
        media type, `body` what its JSON holds."""
        if status >= 500:
            return f"status {status}"
        method, _, path = operation.partition(" ")
        told = self._paths[path].get(method.lower())
        if not told:
            return ""
        responses = told["responses"]
        response = responses.get(str(status)) or responses.get(f"{status // 100}XX")
        if response is None:
            return f"status {status} is not documented"
        content = response.get("content", {})
        if kind not in content:
            return f"media type {kind!r} is not documented for {status}" if content or kind else ""
        if kind != "application/json":
            return ""
        errors = Draft202012Validator({**content[kind]["schema"], **self._whole}).iter_errors(body)
        return next((f"{error.json_path}: {error.message}"[:200] for error in errors), "")
