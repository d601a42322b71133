"""dbt Cloud's Administrative API, and the control API for tests."""

from fastapi import FastAPI
from starlette.routing import Router

from local_dbt_cloud.api.envelope import add_exception_handlers
from local_dbt_cloud.api.fault_middleware import FaultInjectionMiddleware
from local_dbt_cloud.api.middleware import (
    BodySizeLimitMiddleware,
    CrossOriginMiddleware,
    RequestLogMiddleware,
    TrailingSlashMiddleware,
)
from local_dbt_cloud.api.routes import (
    accounts,
    artifacts,
    control,
    empty_lists,
    jobs,
    provisioning,
    runs,
    variables,
)
from local_dbt_cloud.service import Service

ACCOUNT_ROUTERS = {
    "v2": (*provisioning.v2_routers, jobs.router, runs.router, artifacts.router, empty_lists.v2_router),
    "v3": (*provisioning.v3_routers, variables.router, empty_lists.v3_router),
}


def create_api(service: Service) -> FastAPI:
    """Create the app of the API.

    All endpoints and dependencies are async, although database access is synchronous: they run one at a time
    on the event loop, so that no request sees or makes half of a change.
    """
    # No documentation pages, which load their scripts from the internet.
    app = FastAPI(title="local dbt Cloud", redirect_slashes=False, openapi_url=None)
    app.state.service = service
    # The middleware that is added last receives a request first.
    app.add_middleware(BodySizeLimitMiddleware)
    app.add_middleware(FaultInjectionMiddleware, faults=service.faults)
    app.add_middleware(RequestLogMiddleware, requests=service.requests)
    app.add_middleware(TrailingSlashMiddleware)
    app.add_middleware(CrossOriginMiddleware)
    add_exception_handlers(app)

    # The connection test of Airflow's provider requests "/".
    @app.get("/")
    async def root() -> dict[str, str]:
        return {"service": "local dbt Cloud", "pages": service.pages_url}

    # include_router() would build each route again, which takes a tenth of the time of a start.
    app.router.routes += [*accounts.router.routes, *control.router.routes]
    for version, routers in ACCOUNT_ROUTERS.items():
        routes = [route for router in routers for route in router.routes]
        app.mount(f"/api/{version}/accounts/{{account_id}}", Router(routes))
    return app
