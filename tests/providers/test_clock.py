from __future__ import annotations

from emerge_core.providers.clock import SteadyClock


class Hands:
    """A monotonic and a wall clock that the test moves."""

    def __init__(self) -> None:
        self.monotonic, self.wall = 100.0, 1_000_000.0
        self.clock = SteadyClock(monotonic=lambda: self.monotonic, wall=lambda: self.wall)

    def move(self, monotonic: float, wall: float) -> float:
        before = self.clock()
        self.monotonic += monotonic
        self.wall += wall
        return self.clock() - before


def test_both_clocks_run() -> None:
    assert Hands().move(7, 7.2) == 7


def test_a_wall_clock_that_is_set_back_changes_nothing() -> None:
    hands = Hands()
    assert hands.move(10, -3590) == 10
    assert hands.move(10, 10) == 10


def test_the_time_of_a_frozen_environment_passes() -> None:
    hands = Hands()
    assert hands.move(0, 600) == 600
    assert hands.move(1, 1) == 1
