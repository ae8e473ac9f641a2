"""The console: the page that `emerge serve` shows a person at `/`, and the JSON routes behind it.

What every request pays for is one entry in `History`, which is bounded. All else is imported when the page is opened.
"""

from emerge_core.console.history import History
from emerge_core.console.routes import Console

__all__ = ["Console", "History"]
