"""An asset for each dbt model, with an event whenever a run builds it."""

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any

from airflow.sdk import Asset, AssetAlias

# All events of models are added through this alias. A Dag scheduled on it starts after any of them.
MODELS = AssetAlias("dbt_models")


def model_asset(model: str, **arguments: Any) -> Asset:
    """Return the asset of a model: ``jaffle_shop.orders`` has the URI ``x-dbt://jaffle_shop/orders``.

    Both come from the dbt project and are the same in every account, environment and warehouse.

    :param model: dbt project and model, such as ``jaffle_shop.orders``; with a suffix such as ``.v2`` for a
        version of the model.
    :param arguments: More arguments of the asset, such as ``watchers``.
    """
    return Asset(model, uri=f"x-dbt://{model.replace('.', '/')}", **arguments)


def built_models(results: dict[str, Any], patterns: Sequence[str]) -> list[tuple[Asset, dict[str, Any]]]:
    """Return the assets of the chosen models that a successful run built, each with the event's extra.

    A model that dbt skipped or reused was not built. The tests of the returned models passed, except for
    those of severity warn: otherwise the run would have failed.

    :param results: What ``read_run_results`` returns.
    :param patterns: Names of models, or patterns such as ``stg_*``.
    """
    # If several steps built a model, the last one counts: Airflow should get one event.
    models: dict[str, tuple[Asset, dict[str, Any]]] = {}
    for node in results["nodes"]:
        kind, _, model = node["unique_id"].partition(".")
        name = model.partition(".")[2]
        if (kind, node["status"]) == ("model", "success") and any(fnmatch(name, one) for one in patterns):
            extra = {key: results[key] for key in ("run_id", "href")}
            extra |= {key: node.get(key) for key in ("status", "started_at", "execution_time", "rows")}
            if model not in models or (extra["started_at"] or "") > (models[model][1]["started_at"] or ""):
                models[model] = model_asset(model), extra
    return list(models.values())


def unknown_models(results: dict[str, Any], patterns: Sequence[str]) -> list[str]:
    """Return the patterns that match no model among the results, whatever its status, such as a typo."""
    if results["left_out"]:
        return []
    names = [
        node["unique_id"].split(".", 2)[2]
        for node in results["nodes"]
        if node["unique_id"].startswith("model.")
    ]
    return [one for one in patterns if not any(fnmatch(name, one) for name in names)]
