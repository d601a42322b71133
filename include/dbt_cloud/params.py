"""Dag params for a form in which a user chooses what dbt builds, and into which schema."""

from typing import Any

from airflow.sdk import Param

# One selector: orders, 2+orders+3, @orders, tag:nightly, path:models/marts, stg_*
SELECTOR = r"(\d*\+|@)?[\w*?\[][\w.*?:/\[\]-]*(\+\d*)?"
SELECTORS = rf"{SELECTOR}([ ,]+{SELECTOR})*"
SCHEMA = r"[A-Za-z_]\w{0,62}"


def selectors_param(default: str | None, description: str) -> Param:
    """Return a param for dbt selectors, to be put after ``--select`` or ``--exclude``.

    It accepts only selectors: no option, quote, line break or shell syntax can reach the dbt command.

    :param default: Selectors, or None for an empty field.
    :param description: The help text below the field.
    """
    expected = "dbt selectors separated by spaces or commas, such as orders+ tag:daily,+stg_*"
    return _text_param(default, description, SELECTORS, expected)


def schema_param(default: str | None, description: str) -> Param:
    """Return a param for the name of a database schema.

    :param default: A name, or None for an empty field.
    :param description: The help text below the field.
    """
    expected = "schema names of up to 63 letters, digits and underscores, with no digit first"
    return _text_param(default, description, SCHEMA, expected)


def _text_param(default: str | None, description: str, pattern: str, expected: str) -> Param:
    """Return a param for a text that matches a pattern or is blank; the form rejects any other.

    :param expected: The rest of the sentence "... is not one of ..."
    """
    schema: dict[str, Any] = {
        # (?!\n): Python's $ also matches before a final line break.
        "if": {"pattern": rf"^ *({pattern})? *$(?!\n)"},
        # JSON Schema has no error messages: Airflow shows the rule that failed. A readable rule instead of
        # the pattern gives "'orders; dbt run' is not one of ['dbt selectors ...']".
        "else": {"enum": [expected]},
        # Without this rule, the enum would accept its own text.
        "not": {"const": expected},
    }
    # The form sends null for an empty field; without "null" here the field would be required.
    return Param(default, description, type=["null", "string"], **schema)
