"""The assets of the models that a run built."""

from include.dbt_cloud.model_assets import built_models, unknown_models


def test_a_model_that_two_steps_built_has_one_event_with_the_last_result() -> None:
    node = {"unique_id": "model.shop.orders", "status": "success"}
    nodes = [node | {"started_at": f"2026-01-01T00:0{minute}:00Z", "rows": minute} for minute in (1, 3, 2)]
    (one,) = built_models({"run_id": 7, "href": "", "nodes": nodes}, ["*"])
    assert (one[0].name, one[1]["rows"]) == ("shop.orders", 3)


def test_a_pattern_that_matches_no_model_of_the_run_is_found() -> None:
    nodes = [{"unique_id": "model.shop.orders"}, {"unique_id": "test.shop.customers.x"}]
    results = {"nodes": nodes, "left_out": 0}
    assert unknown_models(results, ["orders", "ord*", "customers", "c*"]) == ["customers", "c*"]
    # The model may be among those that were left out.
    assert unknown_models(results | {"left_out": 1}, ["customers"]) == []
