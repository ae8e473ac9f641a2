"""POST /v1/messages and /v1/messages/count_tokens, Anthropic's surface."""

from emerge_core.api.messages.count_tokens import CountTokensEndpoint
from emerge_core.api.messages.endpoint import MessagesEndpoint

__all__ = ["CountTokensEndpoint", "MessagesEndpoint"]
