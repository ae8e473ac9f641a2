"""Recordings, ours and real ones, as fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.paths import RECORDINGS
from tests.support.recordings import Row, make_mixed, make_recordings, write_rows
from tests.support.simulated_recording import write_recording


@pytest.fixture(scope="session", name="write_rows")
def _write_rows() -> Callable[[Path, Sequence[Row]], None]:
    return write_rows


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture
def own_recordings(tmp_path: Path) -> Iterator[Path]:
    """A copy that a test may spoil."""
    root = tmp_path / "own"
    root.mkdir()
    yield make_recordings(root)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording of simulated models. Tests do not change it."""
    return write_recording(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Recorded answers of real models, which are no part of the repository."""
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings in {RECORDINGS} (EMERGE_RECORDINGS names another place)")
    return RECORDINGS


@pytest.fixture
def mixed(own_recordings: Path) -> Path:
    make_mixed(own_recordings)
    return own_recordings
