"""Validation of request bodies that endpoints receive as any JSON object."""

from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], body: dict[str, Any]) -> Model:
    """Return a model of a body, or raise the exception for a response with 400."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        errors = [{**detail, "loc": ("body", *detail["loc"])} for detail in error.errors()]
        raise RequestValidationError(errors) from error


def merged(stored: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a stored definition with the given fields; nested objects are merged, not replaced."""

    def merge(old: Any, new: Any) -> Any:
        return old | new if isinstance(old, dict) and isinstance(new, dict) else new

    return stored | {field: merge(stored.get(field), value) for field, value in given.items()}
