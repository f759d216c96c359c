"""The API answers as its OpenAPI description says, whatever it is asked: requests are generated from the description."""

from __future__ import annotations

from collections import Counter

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi

from mbo.api.client import Client
from tests.api.test_stored import RANGE

CHECKS = [
    checks.not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_schema_conformance,
    openapi.negative_data_rejection,
]
EXAMPLES = 25


@pytest.fixture(scope="module")
def described(served):
    return schemathesis.openapi.from_url(f"{served}/openapi.json")


@pytest.fixture(scope="module")
def resting(served):
    """An order that is in the book."""
    with Client(served) as api:
        return str(api.book("SIM1", depth=1, orders=True)["bids"][0]["orders"][0]["order_id"])


def operations() -> list[tuple[str, str, bool]]:
    from tests.api.scripted import application, get, quoted

    with application(quoted()) as app:
        paths = get(app, "/openapi.json").json()["paths"]
    found = [(path, method, about) for path, methods in paths.items() for method, about in methods.items()]
    sound = [(path, method, True) for path, method, _ in found]
    return sound + [
        (path, method, False) for path, method, about in found if {"parameters", "requestBody"} & about.keys()
    ]


@pytest.mark.parametrize(("path", "method", "sound"), operations())
def test_every_answer_is_one_that_is_declared(described, resting, path, method, sound):
    operation = described[path][method.upper()]
    mode = GenerationMode.POSITIVE if sound else GenerationMode.NEGATIVE
    statuses: Counter[int] = Counter()

    @hypothesis.given(operation.as_strategy(generation_mode=mode), st.booleans())
    @hypothesis.settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    def ask(case, real):
        if sound and real and path in ("/v1/trades", "/v1/mbp", "/v1/bars"):  # about something that is there
            case.query = {**(case.query or {}), **RANGE}
            case.query.pop("cursor", None)
            case.query.pop("file", None)
        if sound and real and "symbol" in (case.path_parameters or {}):
            case.path_parameters["symbol"] = "SIM1"
            if "order_id" in case.path_parameters:
                case.path_parameters["order_id"], case.query = resting, {}
        answer = case.call(timeout=30)
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS if not sound else CHECKS[:-1])

    ask()
    assert not any(status >= 500 for status in statuses)
    if sound:
        assert any(status < 300 for status in statuses), "no question was answered"
