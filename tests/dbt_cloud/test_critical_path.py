"""The critical path of a step, from results written by hand; test_results.py checks it on dbt's own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.dbt_cloud.critical_path import critical_path


def node(
    unique_id: str, start: float, end: float, reads: str = "", table: str | None = None
) -> dict[str, Any]:
    began = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=start)).isoformat()
    return {
        "unique_id": unique_id,
        "timing": [{"name": "compile", "started_at": began}, {"name": "execute", "started_at": began}],
        "execution_time": end - start,
        "relation_name": table,
        "compiled_code": f"select * from {reads}" if reads else None,
    }


def ids(*results: dict[str, Any]) -> list[str]:
    path = critical_path(list(results))
    return [result["unique_id"] for result in results if result["unique_id"] in path]


SEED = node("seed.shop.raw", 0, 2)
STAGING = node("model.shop.stg", 2.1, 3, '"db"."prod"."raw"', '"db"."prod"."stg"')
MART = node("model.shop.orders", 5.1, 7, '"db"."prod"."stg"', '"db"."prod"."orders"')


def test_the_critical_path_follows_the_tables_that_nodes_read() -> None:
    beside = node("model.shop.other", 3, 5, '"db"."prod"."another"', '"db"."prod"."other"')
    assert ids(SEED, STAGING, beside, MART) == ["seed.shop.raw", "model.shop.stg", "model.shop.orders"]


def test_a_model_waits_for_the_tests_of_what_it_reads() -> None:
    test = node("test.shop.unique_stg_id.abc", 3.1, 5, '"db"."prod"."stg"')
    late = node("test.shop.not_null_stg_id.abc", 4, 6, '"db"."prod"."stg"')
    assert ids(SEED, STAGING, test, late, MART)[-2:] == [test["unique_id"], "model.shop.orders"]


def test_a_model_waits_for_its_own_unit_tests_and_they_for_what_it_reads() -> None:
    own = node("unit_test.shop.orders.adds_up", 3.1, 5, "(select 1)")
    other = node("unit_test.shop.stg.adds_up", 3.1, 5.05, "(select 1)")
    assert ids(SEED, STAGING, own, other, MART) == [
        "seed.shop.raw", "model.shop.stg", "unit_test.shop.orders.adds_up", "model.shop.orders",
    ]  # fmt: skip


@pytest.mark.parametrize(("reads", "expected"), [("db.prod.stg_archive", 1), ("db.prod.stg", 2)])
def test_a_longer_table_name_is_not_mistaken_for_its_prefix(reads: str, expected: int) -> None:
    staging = node("model.shop.stg", 0, 1, "x", "db.prod.stg")
    assert len(critical_path([staging, node("model.shop.orders", 2, 3, reads)])) == expected


def test_a_model_that_reads_itself_and_takes_no_time_is_on_the_path_once() -> None:
    again = node("model.shop.stg", 2.1, 2.1, '"db"."prod"."raw" join "db"."prod"."stg"', '"db"."prod"."stg"')
    test = node("test.shop.unique_stg_id.abc", 2.1, 2.1, '"db"."prod"."stg"')
    assert "model.shop.stg" in ids(SEED, again, test)


def test_an_exposure_that_ends_last_does_not_hide_the_path() -> None:
    exposure = {**node("exposure.shop.review", 7.1, 7.2), "status": "no-op"}
    assert ids(SEED, STAGING, MART, exposure) == ["seed.shop.raw", "model.shop.stg", "model.shop.orders"]


def test_a_node_that_never_started_is_on_no_path() -> None:
    skipped = {**node("model.shop.skipped", 0, 0), "timing": []}
    assert critical_path([]) == critical_path([skipped]) == set()
    assert ids(SEED, skipped) == ["seed.shop.raw"]
