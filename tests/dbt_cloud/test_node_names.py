"""Short names of nodes."""

import pytest

from include.dbt_cloud.node_names import short_names

TABLES = ["model.shop.orders", "model.shop.order_items", "model.shop.order", "seed.shop.raw"]


@pytest.mark.parametrize(
    ("unique_id", "name"),
    [
        ("model.shop.orders", "orders"),
        ("model.shop.orders.v2", "orders.v2"),
        ("unit_test.shop.orders.adds_up", "orders.adds_up"),
        ("source.shop.raw.customers", "raw.customers"),
        ("test.shop.unique_orders_order_id.abc123", "unique orders.order_id"),
        ("test.shop.not_null_order_items_id.abc123", "not_null order_items.id"),
        ("test.shop.accepted_values_orders_status__placed__paid.abc", "accepted_values orders.status"),
        ("test.shop.relationships_orders_customer_id__id__ref_x_.abc", "relationships orders.customer_id"),
        ("test.shop.unique_raw.abc", "unique raw"),
        ("test.shop.assert_totals_add_up", "assert_totals_add_up"),
        ("test.shop.not_null_elsewhere_id.abc", "not_null_elsewhere_id"),
        ("operation.shop.hook", "hook"),
    ],
)
def test_short_names(unique_id: str, name: str) -> None:
    assert short_names([*TABLES, unique_id])[unique_id] == name
