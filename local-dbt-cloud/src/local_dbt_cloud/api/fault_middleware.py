"""Inject faults into the responses of the API."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

from fastapi import Response
from fastapi.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_dbt_cloud.api.envelope import USER_MESSAGES, envelope
from local_dbt_cloud.api.serializers import status_fields
from local_dbt_cloud.database import utc_now
from local_dbt_cloud.fault_injection import Fault, FaultRegistry
from local_dbt_cloud.run_status import ACTIVE_STATUSES


class FaultInjectionMiddleware:
    """ASGI middleware that applies the oldest matching fault to a request; the control API is exempt."""

    def __init__(self, app: ASGIApp, faults: FaultRegistry) -> None:
        self.app = app
        self.faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process a request."""
        fault = None
        if scope["type"] == "http" and not scope["path"].startswith("/local/"):
            fault = self.faults.take_match(scope["method"], scope["path"])
        if fault is None:
            await self.app(scope, receive, send)
            return
        await asyncio.sleep(fault.delay or 0)
        if fault.drop == "before":
            _drop_connection(scope)
        elif fault.status or fault.html:
            if fault.acts:
                await self._call_app(scope, receive)
            await _fault_response(fault)(scope, receive, send)
        elif fault.drop or fault.hide_new_runs or fault.run_status is not None:
            code, headers, body = await self._call_app(scope, receive)
            if fault.drop:
                _drop_connection(scope)
                return
            code, body = _rewrite_runs(fault, scope["method"], code, body)
            headers = {name: value for name, value in headers.items() if name != "content-length"}
            await Response(body, code, headers)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _call_app(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, str], bytes]:
        """Process the request and return the status, headers and body of the response without sending it."""
        messages: list[Message] = []

        async def collect(message: Message) -> None:
            messages.append(message)

        await self.app(scope, receive, collect)
        headers = {name.decode(): value.decode("latin-1") for name, value in messages[0]["headers"]}
        return messages[0]["status"], headers, b"".join(message.get("body", b"") for message in messages)


def _drop_connection(scope: Scope) -> None:
    scope["transport"].abort()


def _fault_response(fault: Fault) -> Response:
    code = fault.status or 200
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    text = "Fault injected through /local/faults."
    # Responses with these codes have no body.
    if code in (204, 205, 304):
        return Response(None, code, headers)
    if fault.html:
        return HTMLResponse(f"<html><body><h1>{code}</h1><p>{text}</p></body></html>", code, headers)
    response = envelope(None, code, USER_MESSAGES.get(code, text))
    response.headers.update(headers)
    return response


def _rewrite_runs(fault: Fault, method: str, code: int, body: bytes) -> tuple[int, bytes]:
    """Hide or change the runs in a response; return its status and body. Other responses are not changed."""
    try:
        response: Any = json.loads(body)
        data = response["data"]
        runs = data if isinstance(data, list) else [data]
        if not all("trigger_id" in run for run in runs):
            return code, body
    except (ValueError, TypeError, KeyError):
        return code, body
    if method == "GET" and fault.hide_new_runs:
        newest = utc_now() - timedelta(seconds=fault.hide_new_runs)
        runs = [run for run in runs if datetime.fromisoformat(run["created_at"]) < newest]
        if not runs and not isinstance(data, list):
            return 404, bytes(envelope(None, 404, USER_MESSAGES[404]).body)
    if fault.run_status is not None:
        for run in runs:
            run |= status_fields(fault.run_status)
            if fault.run_status in ACTIVE_STATUSES:
                run["finished_at"] = None
    response["data"] = runs if isinstance(data, list) else runs[0]
    return code, json.dumps(response).encode()
