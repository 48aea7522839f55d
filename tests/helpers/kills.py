"""Children that are killed while they write files: at every operation, and after every so many bytes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
OPERATIONS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "shutil.rmtree")
Work = Callable[[], object]


def child_that(work: Work) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def killed_at(step: int, work: Work) -> bool:
    """Whether a child that does `work` was killed: just before its `step`-th operation on files."""

    def in_child():
        left = [step]

        def before(event, arguments):
            if event in OPERATIONS:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        flush = os.fsync
        os.fsync = lambda file: (before("os.chmod", ()), flush(file))[1]
        sys.addaudithook(before)
        work()

    _, status = os.waitpid(child_that(in_child), 0)
    return os.WIFSIGNALED(status)


def killed_after(count: int, work: Work) -> bool:
    """Whether a child that does `work` was killed: once a file of its had `count` bytes and was to have more."""

    def in_child():
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (count, count))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which Python ignores; ends the process at once
        work()

    _, status = os.waitpid(child_that(in_child), 0)
    return os.WIFSIGNALED(status)


def killed_everywhere(work: Work, bytes_apart: int) -> Iterator[bool]:
    """Do `work` again and again in children, until none is killed: at each operation, then after each so many bytes.

    Yields whether the child was killed. Nothing is mended between two of them.
    """
    for kill, first, apart in ((killed_at, 1, 1), (killed_after, 0, bytes_apart)):
        at, killed = first, True
        while killed:
            killed = kill(at, work)
            at += apart
            yield killed


def killed_at_line(step: int, folder: str, work: Work) -> bool:
    """Whether a child that does `work` was killed: just before the `step`-th line that it runs of the files in
    `folder`."""

    def in_child():
        left = [step]

        def trace(frame, event, argument):
            if folder not in frame.f_code.co_filename:
                return None
            if event == "line":
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        work()

    _, status = os.waitpid(child_that(in_child), 0)
    return os.WIFSIGNALED(status)
