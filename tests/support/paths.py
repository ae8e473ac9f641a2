"""Where the files that tests read are."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools" / "aws" / "bin"  # what `make tools` installs
PROXY = ROOT / "functions" / "proxy"
RECORDINGS = Path(os.environ.get("EMERGE_RECORDINGS") or ROOT.parent / "shared" / "data" / "replay")
