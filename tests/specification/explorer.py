"""Explores all that a specification can reach, the nearest first; tells how what is bad is reached."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import attrs

Action = Callable[[Any], Iterator[tuple[str, Any]]]
"""Yields what may happen in a state: a sentence, and the state after it."""


class Violation(AssertionError):
    """Something does not hold; the story is the shortest that leads there."""

    def __init__(self, what: str, story: list[str]) -> None:
        self.what = what
        self.story = story
        super().__init__("\n".join([what, *(f"{n:4}. {sentence}" for n, sentence in enumerate(story, 1))]))


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
    always: Callable[[Any], str | None],
    each_step: Callable[[Any, Any], str | None],
) -> Explored:
    """Visit every state once, in the order of their distance.

    Parameters
    ----------
    always, each_step
        Tells what is wrong with a state, and with a step from one to another; None: nothing.

    Raises
    ------
    Violation
        The first that is met: no shorter story leads to any.
    """
    came_from: dict[Any, tuple[Any, str] | None] = {start: None}
    taken = dict.fromkeys(actions, 0)
    steps = depth = 0

    def check(what: str | None, state: Any, *sentence: str) -> None:
        if what is not None:
            raise Violation(what, [*_story(came_from, state), *sentence])

    check(always(start), start)
    level = [start]
    while level:
        depth += 1
        following = []
        for state in level:
            for name, action in actions.items():
                for sentence, after in action(state):
                    steps += 1
                    taken[name] += 1
                    check(each_step(state, after), state, sentence)
                    if after not in came_from:
                        came_from[after] = state, sentence
                        check(always(after), after)
                        following.append(after)
        level = following
    return Explored(len(came_from), steps, taken, depth)


def _story(came_from: Mapping[Any, tuple[Any, str] | None], state: Any) -> list[str]:
    story = []
    while (before := came_from[state]) is not None:
        state, sentence = before
        story.append(sentence)
    return story[::-1]
