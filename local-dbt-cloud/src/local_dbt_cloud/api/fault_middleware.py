"""Inject faults into the answers of the API."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

from fastapi import Response
from fastapi.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_dbt_cloud.api.envelope import MESSAGES, envelope
from local_dbt_cloud.api.serializers import status_fields
from local_dbt_cloud.database import ACTIVE, now
from local_dbt_cloud.fault_injection import Fault, Faults


class FaultInjectionMiddleware:
    """ASGI middleware that applies the first fault that matches a request."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self.app = app
        self.faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or do to it what the fault says."""
        fault = None
        if scope["type"] == "http" and not scope["path"].startswith("/local/"):
            fault = self.faults.met_by(scope["method"], scope["path"])
        if fault is None:
            await self.app(scope, receive, send)
            return
        await asyncio.sleep(fault.delay or 0)
        if fault.drop == "before":
            _hang_up(scope)
        elif fault.status or fault.html:
            if fault.acts:
                await self._answer_of_app(scope, receive)
            await _answer(fault)(scope, receive, send)
        elif fault.drop or fault.hide_new_runs or fault.run_status is not None:
            code, headers, body = await self._answer_of_app(scope, receive)
            if fault.drop:
                _hang_up(scope)
                return
            code, body = _rewritten(fault, scope["method"], code, body)
            headers = {name: value for name, value in headers.items() if name != "content-length"}
            await Response(body, code, headers)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _answer_of_app(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, str], bytes]:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app(scope, receive, keep)
        headers = {name.decode(): value.decode("latin-1") for name, value in messages[0]["headers"]}
        return messages[0]["status"], headers, b"".join(message.get("body", b"") for message in messages)


def _hang_up(scope: Scope) -> None:
    scope["transport"].abort()


def _answer(fault: Fault) -> Response:
    code = fault.status or 200
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    text = "A fault that was turned on under /local/faults."
    # By their definition these have no body.
    if code in (204, 205, 304):
        return Response(None, code, headers)
    if fault.html:
        return HTMLResponse(f"<html><body><h1>{code}</h1><p>{text}</p></body></html>", code, headers)
    answer = envelope(None, code, MESSAGES.get(code, text))
    answer.headers.update(headers)
    return answer


def _rewritten(fault: Fault, method: str, code: int, body: bytes) -> tuple[int, bytes]:
    """Change the runs in an answer; any other answer stays as it is."""
    try:
        answer: Any = json.loads(body)
        data = answer["data"]
        runs = data if isinstance(data, list) else [data]
        if not all("trigger_id" in run for run in runs):
            return code, body
    except (ValueError, TypeError, KeyError):
        return code, body
    if method == "GET" and fault.hide_new_runs:
        since = now() - timedelta(seconds=fault.hide_new_runs)
        runs = [run for run in runs if datetime.fromisoformat(run["created_at"]) < since]
        if not runs and not isinstance(data, list):
            return 404, envelope(None, 404, MESSAGES[404]).body
    if fault.run_status is not None:
        for run in runs:
            run |= status_fields(fault.run_status)
            if fault.run_status in ACTIVE:
                run["finished_at"] = None
    answer["data"] = runs if isinstance(data, list) else runs[0]
    return code, json.dumps(answer).encode()
