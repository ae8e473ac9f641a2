"""The refusals of Bedrock that a person can mend, in Bedrock's words, each with the command or page that mends it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.aws.bedrock_upstream import Refusal


@dataclass(frozen=True, slots=True)
class Case:
    model: str  # the name in a config
    remedy: str
    mends: str  # a command, a page or a permission that the advice must name
    refusal: Refusal


ROLE = "User: arn:aws:sts::123456789012:assumed-role/emerge-ProxyRole/proxy"

CASES = (
    Case(
        "not-granted",
        "permission",
        "bedrock:InvokeModel",
        Refusal(
            403,
            "AccessDeniedException",
            f"{ROLE} is not authorized to perform: bedrock:InvokeModel on resource: arn:aws:bedrock:us-east-1::"
            "foundation-model/x because no identity-based policy allows the bedrock:InvokeModel action",
        ),
    ),
    Case(
        "not-subscribed",
        "marketplace subscription",
        "aws-marketplace:Subscribe",
        Refusal(
            403,
            "AccessDeniedException",
            f"Model access is denied due to {ROLE} is not authorized to perform the required AWS Marketplace actions "
            "(aws-marketplace:ViewSubscriptions, aws-marketplace:Subscribe) to enable access to this model. Refer to "
            "the Amazon Bedrock documentation for further details.",
        ),
    ),
    Case(
        "subscription-pending",
        "marketplace subscription",
        "15 minutes",
        Refusal(
            403,
            "AccessDeniedException",
            "Model access is denied due to INVALID_PAYMENT_INSTRUMENT: A valid payment instrument must be provided. "
            "Your AWS Marketplace subscription for this model cannot be completed at this time. If you recently fixed "
            "this issue, try again after 15 minutes.",
        ),
    ),
    Case(
        "no-form",
        "use case form",
        "Model catalog",
        Refusal(
            404,
            "ResourceNotFoundException",
            "Model use case details have not been submitted for this account. Fill out the Anthropic use case details "
            "form before using the model. If you have already filled out the form, try again in 15 minutes.",
        ),
    ),
    Case(
        "not-here",
        "region",
        "aws bedrock list-foundation-models --region",
        Refusal(400, "ValidationException", "The provided model identifier is invalid."),
    ),
    Case(
        "needs-profile",
        "inference profile",
        "aws bedrock list-inference-profiles",
        Refusal(
            400,
            "ValidationException",
            "Invocation of model ID anthropic.claude-3-5-sonnet-20241022-v2:0 with on-demand throughput isn’t "
            "supported. Retry your request with the ID or ARN of an inference profile that contains this model.",
        ),
    ),
    Case(
        "clock-off",
        "clock",
        "NTP",
        Refusal(403, "InvalidSignatureException", "Signature expired: 20261126T120000Z is now earlier than 20261126T"),
    ),
    Case(
        "logged-out",
        "expired credentials",
        "log in again",
        Refusal(403, "ExpiredTokenException", "The security token included in the request is expired"),
    ),
)
