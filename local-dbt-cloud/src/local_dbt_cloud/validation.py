"""Types that validate account.yaml and the request bodies of the API."""

from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationInfo, model_validator

# IDs are int64 in dbt Cloud's API.
MAX_ID = 2**63 - 1
Id = Annotated[int, Field(ge=1, le=MAX_ID)]

# NUL cannot be passed as a process argument. The length keeps a step below Linux's limit for one argument.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=30_000)]
# 255 is the API's limit for a cause; DuckDB and dbt accept identifiers of this length.
ShortText = Annotated[Text, Field(min_length=1, max_length=255)]
# No braces: dbt renders profiles.yml with Jinja, which could read environment variables of the dbt process.
TextWithoutJinja = Annotated[ShortText, Field(pattern=r"^[^{}\x00]*$")]

# Validation context for files. Request bodies are validated without it, because clients may send newer
# fields.
FORBID_UNKNOWN_FIELDS = {"unknown_fields": "forbid"}


class InputModel(BaseModel):
    """A model that treats null as "not given", because some clients send every field they know."""

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, dict):
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        if info.context == FORBID_UNKNOWN_FIELDS and (
            unknown := [str(key) for key in data if key not in known]
        ):
            suggestions = get_close_matches(unknown[0], known, n=1)
            hint = f"; did you mean {suggestions[0]!r}?" if suggestions else ""
            raise ValueError(f"{unknown[0]!r} is not a known field{hint}")
        return {key: value for key, value in data.items() if value is not None}
