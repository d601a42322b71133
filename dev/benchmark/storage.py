"""Keep the results of benchmarks in git, so that one can be measured again without the others."""

import json
from dataclasses import asdict

from dev.benchmark.result import BenchmarkResult, Computed, Row, Target
from scripts.settings import PROJECT

DIRECTORY = PROJECT / "dev" / "benchmark" / "results"


def save(result: BenchmarkResult, environment: str) -> None:
    """Keep a result.

    :param environment: When, where and with which versions it was measured.
    """
    content = asdict(result) | {"environment": environment}
    for row, stored in zip(result.rows, content["rows"], strict=True):
        stored["computed"] = [name for name, value in row.values.items() if isinstance(value, Computed)]
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    (DIRECTORY / f"{result.name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(name: str) -> tuple[BenchmarkResult, str] | None:
    """Return the last result of a benchmark and its environment; None if it was never measured."""
    path = DIRECTORY / f"{name}.json"
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    environment = content.pop("environment")
    rows = []
    for row in content.pop("rows"):
        computed = {column: Computed(row["values"][column]) for column in row.pop("computed")}
        rows.append(Row(row["label"], row["values"] | computed, row["number_format"]))
    targets = [Target(**target) for target in content.pop("targets")]
    series = {column: [(x, y) for x, y in points] for column, points in content.pop("series").items()}
    return BenchmarkResult(rows=rows, targets=targets, series=series, **content), environment
