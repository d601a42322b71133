"""Checks answers of the API against dbt Cloud's OpenAPI files, where these are at hand.

The files belong to dbt Labs and are not part of this project: they are looked for beside it.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import yaml

# The folder that holds this repository.
BESIDE = Path(__file__).parents[3]
FILES = BESIDE / "shared" / "reference"
ARE_HERE = (FILES / "openapi-v2.yaml").is_file()
WHY_NOT = f"dbt Cloud's OpenAPI files are not in {FILES}"

# What the files leave out or have otherwise, and the schema that it is held against: clients ask for these in
# v3; a deletion answers with the object, not with 204, and clients parse that.
OTHERWISE = {
    ("get", "/api/v3/accounts/{}/"): ("v2", "AccountEnveloped"),
    ("get", "/api/v3/accounts/{}/environments/"): ("v3", "EnvironmentV3ListEnveloped"),
    ("get", "/api/v3/accounts/{}/environments/{}/"): ("v3", "EnvironmentV3Enveloped"),
    ("delete", "/api/v2/accounts/{}/jobs/{}/"): ("v2", "HumanReadableJobDefinitionEnveloped"),
    ("delete", "/api/v3/accounts/{}/projects/{}/environment-variables/{}/"): (
        "v3",
        "CustomEnvironmentVariableEnveloped",
    ),
}

# What no client expects to be null.
NEVER_NULL = {
    "account_id", "blocked_by", "cause", "created_at", "execute_steps", "execution", "filters", "href",
    "id", "index", "logs", "name", "pagination", "project_id", "run_id", "run_steps", "schedule", "settings",
    "state", "status", "triggers", "updated_at",
}  # fmt: skip


@cache
def _file(api: str) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load((FILES / f"openapi-{api}.yaml").read_text(encoding="utf-8"), loader)


@cache
def schemas() -> dict[tuple[str, str], tuple[str, str]]:
    """Return the schema, as version and name, of each method and path with "{}" for parameters."""
    found = {}
    for api in ("v2", "v3"):
        for path, operations in _file(api)["paths"].items():
            for method, operation in operations.items():
                content = operation["responses"].get("200", {}).get("content", {})
                reference = content.get("application/json", {}).get("schema", {}).get("$ref")
                if reference:
                    found[method, re.sub(r"{\w+}", "{}", path)] = (api, reference.rpartition("/")[2])
    return found | OTHERWISE


def _whole(schema: Any) -> Any:
    # Turns a schema of OpenAPI 3.0 into one of JSON Schema that wants every field. The files call hardly
    # anything nullable that is null in dbt Cloud's answers, so null passes but for a few fields. A schema
    # with a title says itself which of its fields are optional.
    if isinstance(schema, list):
        return [_whole(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {key: _whole(value) for key, value in schema.items() if key != "format"}
    if isinstance(whole.get("properties"), dict) and "title" not in whole:
        whole["required"] = sorted(whole["properties"])
        for name in NEVER_NULL & whole["properties"].keys():
            whole["properties"][name] = {"allOf": [whole["properties"][name], {"not": {"type": "null"}}]}
    if "$ref" in whole:
        return {"anyOf": [{"type": "null"}, whole]}
    if isinstance(whole.get("type"), str) and "enum" not in whole:
        whole["type"] = [whole["type"], "null"]
    return whole


@cache
def _validator(api: str, name: str) -> jsonschema.Draft202012Validator:
    components = {
        "schemas": {key: _whole(value) for key, value in _file(api)["components"]["schemas"].items()}
    }
    schema = {"$ref": f"#/components/schemas/{name}", "components": components}
    return jsonschema.Draft202012Validator(schema)


def check(response: httpx.Response) -> bool:
    """Hold a good answer against its schema; return whether it has one.

    :raises AssertionError: a field is missing or of another type.
    """
    is_json = response.headers.get("content-type") == "application/json"
    if response.status_code != 200 or not is_json or not ARE_HERE:
        return False
    method, path = response.request.method.lower(), response.request.url.path.rstrip("/") + "/"
    for (known_method, pattern), (api, name) in schemas().items():
        if known_method == method and re.fullmatch(pattern.replace("{}", "[^/]+"), path):
            response.read()
            error = jsonschema.exceptions.best_match(_validator(api, name).iter_errors(response.json()))
            assert error is None, f"{method} {path} is no {name} at {error.json_path}: {error.message[:300]}"
            return True
    return False
