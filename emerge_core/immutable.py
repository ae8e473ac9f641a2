"""Dataclasses that only the type checker keeps immutable.

At run time they are ordinary dataclasses. A frozen one sets each of its fields through `object.__setattr__` and takes
four times as long to make. A request makes about fifty of them, which was a tenth of its processor time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

__all__ = ["immutable"]

if TYPE_CHECKING:
    from dataclasses import dataclass as immutable
else:

    def immutable(*, frozen, **options):
        """As `dataclass`. `frozen` is what the type checker reads, and makes instances hashable."""
        return dataclass(unsafe_hash=frozen, **options)
