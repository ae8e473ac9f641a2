"""Names for the array types of the evaluation rooms.

An annotation says what an array holds; the docstring of a function says its shape, for example (models, questions).
Import this module under `TYPE_CHECKING` only: it loads numpy.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
Singles = NDArray[np.float32]  # similarities and sums where half the memory matters
Integers = NDArray[np.int64]  # numbers of questions, models or members
Codes = NDArray[np.int16]  # answers, numbered per question
Bits = NDArray[np.uint64]  # (n, words): 64 questions per word
Counts = NDArray[np.unsignedinteger]  # of set bits
Values: TypeAlias = NDArray[np.int8] | NDArray[np.bool_] | NDArray[np.float64]
