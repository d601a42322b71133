"""The assets of the models that a run built."""

from include.dbt_cloud.model_assets import built_models


def test_a_model_that_two_steps_built_has_one_event_with_the_last_result() -> None:
    node = {"unique_id": "model.shop.orders", "status": "success"}
    nodes = [node | {"started_at": f"2026-01-01T00:0{minute}:00Z", "rows": minute} for minute in (1, 3, 2)]
    (one,) = built_models({"run_id": 7, "href": "", "nodes": nodes}, ["*"])
    assert (one[0].name, one[1]["rows"]) == ("shop.orders", 3)
