"""What the models of a person's or a client's input share."""

from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationInfo, model_validator

# Ids are int64 in dbt Cloud's API.
MAX_ID = 2**63 - 1
Id = Annotated[int, Field(ge=1, le=MAX_ID)]

# Any text but a lone surrogate, which no answer can hold, and NUL, which no argument of a process can.
# It is short enough for one argument in UTF-8.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=30_000)]
# 255 characters: so long may a cause be, and DuckDB and dbt take names of that length.
Name = Annotated[Text, Field(min_length=1, max_length=255)]
# Without braces: dbt renders its profile with Jinja, which could read the variables of dbt's process.
Plain = Annotated[Name, Field(pattern=r"^[^{}\x00]*$")]

# The context to validate a file with: a word that is not known is a mistake there, while clients of an API
# may send what later versions of it know.
STRICT = {"unknown words": "refused"}


class Entry(BaseModel):
    """A model for which null means "not given", as it does for clients that send every field they know."""

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, dict):
            return data
        words = {field.alias or name for name, field in cls.model_fields.items()}
        if info.context == STRICT and (unknown := [str(word) for word in data if word not in words]):
            meant = get_close_matches(unknown[0], words, n=1)
            hint = f", did you mean {meant[0]!r}?" if meant else ""
            raise ValueError(f"{unknown[0]!r} is not a known word{hint}")
        return {word: value for word, value in data.items() if value is not None}
