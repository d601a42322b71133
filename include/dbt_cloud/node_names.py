"""Shorten the ids of dbt's nodes: ``unique orders.order_id`` for a test of a column."""

import re
from collections.abc import Iterable

TESTED = ("model", "seed", "snapshot")


def short_names(unique_ids: Iterable[str]) -> dict[str, str]:
    """Return the short name of each node by its id.

    A generic test is named after the test, the table and the column, if the table is among the nodes.
    """
    parts = {unique_id: unique_id.split(".") for unique_id in unique_ids}
    tables = {names[2] for names in parts.values() if names[0] in TESTED and len(names) > 2}
    return {unique_id: _short_name(names, tables) for unique_id, names in parts.items()}


def _short_name(parts: list[str], tables: set[str]) -> str:
    kind, *names = parts[:1] + parts[2:]
    if not names:
        return kind
    if kind == "source":
        return ".".join(names)
    if kind != "test":
        # Version of a model, or the name of a unit test.
        return ".".join(names)
    # The last part is a digest.
    return _test_name(names[0], tables)


def _test_name(name: str, tables: set[str]) -> str:
    """Split ``unique_orders_order_id`` at the name of the table; the longest table name wins."""
    # dbt joins the test, the table, the column and the arguments, the latter with two underscores.
    words = name.split("__")[0].rstrip("_").split("_")
    for start in range(1, len(words)):
        for end in range(len(words), start, -1):
            if (table := "_".join(words[start:end])) in tables:
                column = "_".join(words[end:])
                return f"{'_'.join(words[:start])} {table}{'.' * bool(column)}{column}"
    return re.sub(r"\W+", " ", name)
