"""POST /v1/embeddings: one call to an embedder of the config, passed through."""

from emerge_core.api.embeddings.endpoint import EmbeddingsEndpoint

__all__ = ["EmbeddingsEndpoint"]
