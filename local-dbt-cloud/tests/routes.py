"""All endpoints of an app with their whole paths, those of mounted routers too."""

from collections.abc import Iterable, Iterator

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount


def endpoints(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str, APIRoute]]:
    """Yield method, path and route of each endpoint.

    :param prefix: Path at which the routes are mounted.
    """
    for route in routes:
        if isinstance(route, Mount):
            yield from endpoints(route.routes, prefix + route.path)
        else:
            assert isinstance(route, APIRoute), f"unsupported type of route: {route}"
            for method in sorted(route.methods):
                yield method, prefix + route.path, route
