"""Validate responses of the API against dbt Cloud's OpenAPI files, if they are available.

The files belong to dbt Labs and are not part of this repository. They are expected in a directory next to it.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import yaml

FILES = Path(__file__).parents[3] / "shared" / "reference"
ARE_AVAILABLE = (FILES / "openapi-v2.yaml").is_file()
SKIP_REASON = f"dbt Cloud's OpenAPI files are not in {FILES}"

# Endpoints that the files omit or describe differently, with the schema to validate: clients use these paths
# of v3; for deletions dbt Cloud returns the object instead of 204, and clients parse it.
SCHEMA_OVERRIDES = {
    ("get", "/api/v3/accounts/{}/"): ("v2", "AccountEnveloped"),
    ("get", "/api/v3/accounts/{}/environments/"): ("v3", "EnvironmentV3ListEnveloped"),
    ("get", "/api/v3/accounts/{}/environments/{}/"): ("v3", "EnvironmentV3Enveloped"),
    ("delete", "/api/v2/accounts/{}/jobs/{}/"): ("v2", "HumanReadableJobDefinitionEnveloped"),
    ("delete", "/api/v3/accounts/{}/projects/{}/environment-variables/{}/"): (
        "v3",
        "CustomEnvironmentVariableEnveloped",
    ),
    # The Terraform provider reads these fields. The files describe a list for POST, and nothing for DELETE.
    ("post", "/api/v3/accounts/{}/projects/{}/environment-variables/bulk/"): (
        "v3",
        "BulkPutSuccessResponseEnveloped",
    ),
    ("delete", "/api/v3/accounts/{}/projects/{}/environment-variables/bulk/"): (
        "v3",
        "BulkPutSuccessResponseEnveloped",
    ),
    **{
        ("delete", f"/api/v3/accounts/{{}}/{path}/{{}}/"): ("v3", schema)
        for path, schema in {
            "projects": "ProjectEnveloped",
            "connections": "AccountConnectionDetailResponse",
            "projects/{}/environments": "EnvironmentV3Enveloped",
            "projects/{}/credentials": "CredentialsResponseEnveloped",
            "projects/{}/repositories": "RepositoryV3Enveloped",
            "projects/{}/extended-attributes": "ExtendedAttributesResponse",
        }.items()
    },
}

# Fields that clients never expect to be null.
NEVER_NULL = {
    "account_id", "blocked_by", "cause", "created_at", "execute_steps", "execution", "filters", "href",
    "id", "index", "logs", "name", "pagination", "project_id", "run_id", "run_steps", "schedule", "settings",
    "state", "status", "triggers", "updated_at",
}  # fmt: skip

# As recorded from dbt Cloud, these have only the fields of their type.
PARTIAL_SCHEMAS = {"HumanReadableDateStrategy", "HumanReadableTimeStrategy"}


@cache
def _file(api: str) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load((FILES / f"openapi-{api}.yaml").read_text(encoding="utf-8"), loader)
    if api == "v3":
        schemas = content["components"]["schemas"]
        # DuckDB, the only warehouse of the emulator, is not supported by dbt Cloud.
        for name in ("DbtAdapterVersion", "AdapterVersionEnum"):
            schemas[name]["enum"].append("duckdb_v0")
        config = schemas["AccountConnectionDetail"]["properties"]["config"]
        config["anyOf"].append({"type": "object", "required": ["database"]})
        # Credentials are returned as the client sent them, without secrets.
        for name in schemas:
            if name.endswith(("Credentials", "CredentialsResponse", "CredentialsResponseList")):
                keys = ("id", "account_id", "project_id", "type", "state")
                fields: dict[str, Any] = {key: {} for key in keys}
                schemas[name] = {"type": "object", "properties": fields}
        # The file describes one connection, but all clients read a list.
        data = schemas["AccountConnectionListResponse"]["properties"]["data"]
        schemas["AccountConnectionListResponse"]["properties"]["data"] = {"type": "array", "items": data}
    return content


def operations() -> list[tuple[str, str]]:
    """Return the method and path of each operation that the files describe."""
    return [
        (method, path)
        for api in ("v2", "v3")
        for path, described in _file(api)["paths"].items()
        for method in described
        if method in ("get", "post", "put", "patch", "delete")
    ]


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
    return found | SCHEMA_OVERRIDES


def _with_required_fields(schema: Any) -> Any:
    """Convert an OpenAPI 3.0 schema to a JSON Schema that requires all fields.

    dbt Cloud's responses contain null in many fields that the files do not call nullable, so null is allowed
    except in ``NEVER_NULL``. Schemas with a title declare their optional fields themselves.
    """
    if isinstance(schema, list):
        return [_with_required_fields(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {key: _with_required_fields(value) for key, value in schema.items() if key != "format"}
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
        "schemas": {
            key: value if key in PARTIAL_SCHEMAS else _with_required_fields(value)
            for key, value in _file(api)["components"]["schemas"].items()
        }
    }
    schema = {"$ref": f"#/components/schemas/{name}", "components": components}
    return jsonschema.Draft202012Validator(schema)


def check(response: httpx.Response) -> bool:
    """Validate a successful response; return whether a schema exists for it.

    :raises AssertionError: A field is missing or has another type.
    """
    is_json = response.headers.get("content-type") == "application/json"
    if response.status_code != 200 or not is_json or not ARE_AVAILABLE:
        return False
    method, path = response.request.method.lower(), response.request.url.path.rstrip("/") + "/"
    matching = [
        (pattern.count("{}"), schema)
        for (known_method, pattern), schema in schemas().items()
        if known_method == method and re.fullmatch(pattern.replace("{}", "[^/]+"), path)
    ]
    if not matching:
        return False
    # The pattern with the fewest parameters: "bulk" is not an ID.
    api, name = min(matching)[1]
    response.read()
    error = jsonschema.exceptions.best_match(_validator(api, name).iter_errors(response.json()))
    assert error is None, f"{method} {path} is no {name} at {error.json_path}: {error.message[:300]}"
    return True
