"""The OpenAPI document of the HTTP surface."""
