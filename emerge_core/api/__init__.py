"""The OpenAI HTTP surface: routes, wire shapes, server-sent events, errors, keys."""

from emerge_core.api.app import create_app

__all__ = ["create_app"]
