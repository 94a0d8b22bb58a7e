"""Every route against its own description, with right and wrong requests made from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode, openapi
from schemathesis.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.console.rights import COMMANDS, READING
from tests.gateway.console.rig import Browser, Rig, console

ROUTES = [*(path for path in READING if path != "/api/live"),
          *(f"/api/commands/{ask}" for ask in COMMANDS)]  # fmt: skip
TAKING = ("/api/alarms", "/api/alarms/detail", "/api/values", "/api/history",
          "/api/evidence/{sha256}", "/api/cameras/picture")  # fmt: skip
"""Reading routes that take something, which can be wrong."""
CASES = [(path, GenerationMode.POSITIVE) for path in ROUTES]
CASES += [(p, GenerationMode.NEGATIVE) for p in ROUTES if p in TAKING or "commands" in p]
EXAMPLES = 6
EXPECTED = {200, 400, 401, 403, 404, 409, 413, 422, 503}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with console(tmp_path_factory.mktemp("console"), insecure=True) as running:
        running.wait_watching()
        running.gateway.answers["evidence"] = {"path": "/no", "media_type": "image/jpeg"}
        running.gateway.answers["camera.look"] = {"jpeg": "/9g=", "time_ns": 7}
        yield running


@pytest.fixture(scope="module")
def issuer(rig: Rig) -> Browser:
    browser = Browser(rig)
    assert browser.sign_in("issuer").status == 200
    return browser


@pytest.mark.parametrize(("path", "mode"), CASES)
def test_a_route_answers_as_it_says(
    rig: Rig, issuer: Browser, path: str, mode: GenerationMode
) -> None:
    described: dict[str, Any] = issuer.get("/api/openapi.json").json
    schema = openapi.from_dict(described)
    operation = schema[path]["POST" if "commands" in path else "GET"]
    host, port = rig.address

    @settings(max_examples=EXAMPLES, phases=[Phase.generate], database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy(mode))
    def ask(case: Case[Any]) -> None:
        headers = {"X-Requested-With": "plantgate"}
        answer = case.call(
            f"http://{host}:{port}", headers=headers, cookies=issuer.cookies, timeout=60
        )
        assert answer.status_code in EXPECTED
        case.validate_response(
            answer,
            checks=[
                content_type_conformance,
                response_schema_conformance,
                status_code_conformance,
            ],
        )
        if answer.status_code >= 400:
            assert set(answer.json()) == {"error"}

    ask()
