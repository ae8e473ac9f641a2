"""POST /v1/chat/completions, OpenAI's chat surface."""

from emerge_core.api.chat.endpoint import ChatEndpoint

__all__ = ["ChatEndpoint"]
