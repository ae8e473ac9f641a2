"""The OpenAPI document, served at /openapi.json."""

from emerge_core.api.openapi.document import document

__all__ = ["document"]
