"""One request from its ensemble to its trace."""

from emerge_core.engine.engine import Engine, Limits

__all__ = ["Engine", "Limits"]
