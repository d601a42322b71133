"""What the pages' views and actions share: the service, the run in an address, who may press a button."""

from typing import Annotated

from fastapi import Depends, Header, HTTPException, Request

from local_dbt_cloud.database import Run
from local_dbt_cloud.dependencies import ServiceDependency, SessionDependency
from local_dbt_cloud.validation import MAX_ID


class Refused(Exception):
    """A button did nothing; the text says why."""

    def __init__(self, sentence: str, code: int = 400) -> None:
        super().__init__(sentence)
        self.code = code


async def check_account(service: ServiceDependency, account_id: int) -> None:
    """Know no account but ours."""
    if account_id != service.declaration.account.id:
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
    """Refuse what a page of another site sends through the browser of somebody who can reach us.

    The rules are those of Go's http.CrossOriginProtection: every browser sends at least one of these headers
    with a request that may change something.
    """
    ours = not origin or origin.partition("://")[2] == request.headers["host"]
    if sec_fetch_site not in ("", "same-origin", "none") or (not sec_fetch_site and not ours):
        raise Refused("Another site asked for it: press the button on a page of the local dbt Cloud.", 403)
