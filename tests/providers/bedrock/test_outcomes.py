"""Every stop reason and error of the service model has a row, and refusals say what mends them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.session import Session

from emerge_core.providers.bedrock.outcomes import FAULTS, OPTIONAL, REMEDIES, STOP_REASONS, failure, remedy
from emerge_core.providers.errors import Scrubber
from emerge_core.providers.refusals import refusal_of
from emerge_core.types import CallError
from tests.support.aws.bedrock_refusals import CASES, Case

SCRUB = Scrubber(None, {})


@pytest.fixture(scope="module")
def service() -> Any:
    return Session().get_service_model("bedrock-runtime")


def told(name: str, status: int | None, message: str = "Because.") -> CallError:
    return failure(name, status, message, scrub=SCRUB).error


def test_every_stop_reason_of_the_service_has_a_row(service: Any) -> None:
    assert set(service.shape_for("StopReason").enum) == set(STOP_REASONS)


def test_every_error_of_the_service_has_a_row_with_its_status(service: Any) -> None:
    for operation in ("Converse", "ConverseStream", "InvokeModel"):
        for shape in service.operation_model(operation).error_shapes:
            assert FAULTS[shape.name].status == shape.metadata["error"]["httpStatusCode"], shape.name


def test_every_exception_of_the_stream_has_a_row(service: Any) -> None:
    stream = service.operation_model("ConverseStream").output_shape.members["stream"]
    found = [name for name, shape in stream.members.items() if shape.metadata.get("exception")]
    assert found and all(name[:1].upper() + name[1:] in FAULTS for name in found)


@pytest.mark.parametrize(
    ("name", "kind", "retryable"),
    [
        ("ThrottlingException", "rate_limit", True),
        ("ModelNotReadyException", "rate_limit", True),
        ("ModelTimeoutException", "timeout", True),
        ("ModelErrorException", "server", True),
        ("InternalServerException", "server", True),
        ("ServiceUnavailableException", "server", True),
        ("AccessDeniedException", "auth", False),
        ("ResourceNotFoundException", "not_found", False),
        ("ValidationException", "invalid_request", False),
    ],
)
def test_what_an_error_means(name: str, kind: str, retryable: bool) -> None:
    error = told(f"{name}:http://internal.amazon.com/coral/", FAULTS[name].status)
    assert (error.kind, error.retryable, error.code) == (kind, retryable, name)


def test_an_error_nobody_knows_goes_by_its_status() -> None:
    assert told("NewException", 503).kind == "server"
    assert told("NewException", 418).kind == "invalid_request"
    assert told("", 429).kind == "rate_limit"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.model)
def test_refusals_are_told_apart_and_say_what_mends_them(case: Case) -> None:
    found = remedy(f"{case.refusal.name} {case.refusal.message}")
    assert found is not None and (found.name, case.mends in found.advice) == (case.remedy, True)
    error = told(case.refusal.name, case.refusal.status, case.refusal.message)
    assert found.advice in error.message and error.kind in ("auth", "not_found")


def test_the_remedies_have_names_of_their_own() -> None:
    assert len({each.name for each in REMEDIES}) == len(REMEDIES)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("This model doesn't support the toolConfig.toolChoice.any field. Remove it and try again.", "toolChoice"),
        ("This model doesn't support the temperature field. Remove temperature and try again.", "temperature"),
        ("This model doesn't support the outputConfig.textFormat field.", "textFormat"),
        ("This model doesn't support the messages.0.content.image field.", None),
        ("The text said: doesn't support the seed", None),
    ],
)
def test_the_field_that_a_model_refuses(message: str, field: str | None) -> None:
    error = told("ValidationException", 400, message)
    assert error.param == field
    assert refusal_of(error, OPTIONAL).params == ({field} if field else set())
    assert told("AccessDeniedException", 403, message).param is None
