"""dbt Cloud's Administrative API, as far as its clients use it to run jobs."""

from fastapi import Depends, FastAPI

from local_dbt_cloud.api.authentication import check_account, check_token
from local_dbt_cloud.api.envelope import answer_errors_in_envelopes
from local_dbt_cloud.api.fault_middleware import FaultInjectionMiddleware
from local_dbt_cloud.api.middleware import IgnoreTrailingSlash, LimitBody, RecordRequests
from local_dbt_cloud.api.routes import artifacts, control, jobs, projects, runs, variables
from local_dbt_cloud.service import Service


def create_api(service: Service) -> FastAPI:
    """Make the API's app.

    Every endpoint, and what it depends on, is async although none awaits the database: all of them run on the
    event loop, one at a time, so that no request sees or makes half a change.
    """
    # No documentation pages: FastAPI's load their scripts from elsewhere.
    app = FastAPI(title="local dbt Cloud", redirect_slashes=False, openapi_url=None)
    app.state.service = service
    # The last one is the first that a request passes.
    app.add_middleware(LimitBody)
    app.add_middleware(FaultInjectionMiddleware, faults=service.faults)
    app.add_middleware(RecordRequests, requests=service.requests)
    app.add_middleware(IgnoreTrailingSlash)
    answer_errors_in_envelopes(app)

    # Airflow's connection test asks for "/" and wants no more than a good status.
    @app.get("/")
    async def root() -> dict[str, str]:
        return {"service": "local dbt Cloud", "pages": service.pages_url}

    app.include_router(control.router, dependencies=[Depends(check_token)])
    of_account = (projects.router, jobs.router, runs.router, artifacts.router)
    for version, routers in (
        ("v2", of_account),
        ("v3", (projects.router, projects.v3_router, variables.router)),
    ):
        prefix = f"/api/{version}/accounts"
        app.include_router(projects.accounts_router, prefix=prefix, dependencies=[Depends(check_token)])
        for router in routers:
            app.include_router(
                router,
                prefix=prefix + "/{account_id}",
                dependencies=[Depends(check_token), Depends(check_account)],
            )
    return app
