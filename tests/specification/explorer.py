"""Explores every state that a specification can reach, the nearest first, and tells how a bad one is reached."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any

import attrs

Action = Callable[[Any], Iterator[tuple[str, Any]]]
"""Yields what may happen in a state: a sentence, and the state after it."""


class Violation(AssertionError):
    """An invariant does not hold; the story is the shortest that leads there."""

    def __init__(self, invariant: str, what: str, story: list[str]) -> None:
        self.invariant = invariant
        self.story = story
        steps = "\n".join(f"{number:4}. {sentence}" for number, sentence in enumerate(story, 1))
        super().__init__(f"{invariant}: {what}\n{steps}")


@attrs.frozen
class Explored:
    """How much there was: states, steps between them, and how often each action was possible."""

    states: int
    steps: int
    taken: Mapping[str, int]
    depth: int


def explore(
    start: Hashable,
    actions: Mapping[str, Action],
    *,
    always: Iterable[Callable[[Any], str | None]],
    each_step: Iterable[Callable[[Any, Any], str | None]] = (),
    most: int,
) -> Explored:
    """Visit every state once, in the order of their distance.

    Parameters
    ----------
    always, each_step
        Invariants of a state, and of a step from one to another: each tells what is wrong, or None.
    most
        How many states there are allowed to be: exploring is never ended in silence.

    Raises
    ------
    Violation
        The first that is met: no shorter story leads to any.
    """
    always, each_step = list(always), list(each_step)
    came_from: dict[Any, tuple[Any, str] | None] = {start: None}
    taken = dict.fromkeys(actions, 0)
    steps = depth = 0
    _check(always, (start,), start, came_from)
    level = deque([start])
    while level:
        depth += 1
        following: deque[Any] = deque()
        for state in level:
            for name, action in actions.items():
                for sentence, after in action(state):
                    steps += 1
                    taken[name] += 1
                    if each_step:
                        _check(each_step, (state, after), state, came_from, sentence)
                    if after in came_from:
                        continue
                    came_from[after] = state, sentence
                    _check(always, (after,), after, came_from)
                    following.append(after)
        assert len(came_from) <= most, f"there are more than {most} states"
        level = following
    return Explored(len(came_from), steps, taken, depth)


def _check(
    invariants: list[Callable[..., str | None]],
    states: tuple[Any, ...],
    last: Any,
    came_from: Mapping[Any, tuple[Any, str] | None],
    *more: str,
) -> None:
    for invariant in invariants:
        if what := invariant(*states):
            story = [*more]
            while (before := came_from[last]) is not None:
                last, sentence = before
                story.insert(0, sentence)
            raise Violation(invariant.__name__, what, story)
