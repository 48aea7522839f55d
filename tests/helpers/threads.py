"""Work that goes on in threads of its own, whose errors are the test's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any


@contextlib.contextmanager
def beside(work: Callable[[Any], object], arguments: Iterable[Any]) -> Iterator[None]:
    """`work` of each argument in a thread of its own, from when the block begins; its end waits for them all.

    What the first of them raised is raised here.
    """
    errors: list[BaseException] = []

    def guarded(argument: Any) -> None:
        try:
            work(argument)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def at_once(work: Callable[[Any], object], arguments: Iterable[Any]) -> None:
    """`work` of each argument, each in a thread of its own. Raises what the first of them raised."""
    with beside(work, arguments):
        pass
