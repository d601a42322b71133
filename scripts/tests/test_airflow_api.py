"""The client of Airflow's REST API, against a server that answers like a busy Airflow."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from scripts import airflow_api
from scripts.airflow_api import AirflowApi
from scripts.exceptions import UserError

VARIABLE = {"variable_name": "job", "variable_value": "101"}
SETTINGS = {"connections": [], "variables": [VARIABLE], "pools": []}


class Airflow(BaseHTTPRequestHandler):
    """Answers with the next status of a list; 200 when it is empty."""

    statuses: ClassVar[list[int]] = []
    requests: ClassVar[list[str]] = []

    def answer(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.requests.append(self.command)
        body = json.dumps({"detail": "a reason"}).encode()
        self.send_response(self.statuses.pop(0) if self.statuses else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PATCH = answer

    def log_message(self, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def api() -> Iterator[AirflowApi]:
    Airflow.statuses.clear()
    Airflow.requests.clear()
    with HTTPServer(("127.0.0.1", 0), Airflow) as server:
        threading.Thread(target=server.serve_forever).start()
        yield AirflowApi(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_settings_are_imported_although_the_database_was_locked(api: AirflowApi) -> None:
    Airflow.statuses += [500, 409, 500]
    api.import_settings(SETTINGS)
    assert Airflow.requests == ["POST", "POST", "PATCH", "POST"]


def test_a_setting_that_airflow_rejects_is_not_sent_again(api: AirflowApi) -> None:
    Airflow.statuses += [422]
    with pytest.raises(UserError, match=r"Airflow rejected 'job' in the variables .*: a reason"):
        api.import_settings(SETTINGS)
    assert Airflow.requests == ["POST"]


def test_a_database_that_stays_locked_is_an_error(api: AirflowApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow_api, "IMPORT_TIMEOUT", 0)
    Airflow.statuses += [500, 500, 500]
    with pytest.raises(UserError, match="could not store 'job' in its variables"):
        api.import_settings(SETTINGS)
