"""The one exception that carries a sentence for the person who runs the local dbt Cloud."""


class UserError(Exception):
    """Something that the person at the keyboard can mend; its text says what happened and what to do."""
