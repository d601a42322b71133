"""Checks of requests to the pages: the account and run of the path, the origin of a form."""

from typing import Annotated

from fastapi import Depends, Header, HTTPException, Request

from local_dbt_cloud.database import Run
from local_dbt_cloud.dependencies import ServiceDependency, SessionDependency
from local_dbt_cloud.validation import MAX_ID


class ActionRejected(Exception):
    """An action was not performed; the message tells the user why.

    :param code: HTTP status of the response.
    """

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code


async def check_account(service: ServiceDependency, account_id: int) -> None:
    """Respond with 404 if the path names another account."""
    if account_id != service.config.account.id:
        raise HTTPException(404)


async def _run(session: SessionDependency, project_id: int, run_id: int) -> Run:
    run = session.get(Run, run_id) if abs(run_id) <= MAX_ID else None
    if run is None or run.project_id != project_id:
        raise HTTPException(404)
    return run


RunDependency = Annotated[Run, Depends(_run)]


async def check_same_origin(
    request: Request, sec_fetch_site: Annotated[str, Header()] = "", origin: Annotated[str, Header()] = ""
) -> None:
    """Reject requests that another site sends through a user's browser.

    The rules are those of Go's ``http.CrossOriginProtection``: every browser sends at least one of the two
    headers with a POST request.
    """
    has_our_origin = not origin or origin.partition("://")[2] == request.headers["host"]
    if sec_fetch_site not in ("", "same-origin", "none") or (not sec_fetch_site and not has_our_origin):
        raise ActionRejected(
            "The request came from another site. Use the buttons on the pages of the local dbt Cloud.", 403
        )
