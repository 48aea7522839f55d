"""Where the user's code stands: the innermost frame that is not trtnet's own."""

from __future__ import annotations

import linecache
import sys
from types import CodeType, FrameType
from typing import Any

PACKAGE = __name__.partition(".")[0]
_PREFIX = PACKAGE + "."
_OWN = (_PREFIX, "contextlib.")
"""Beside trtnet's own frames, those of the `with` statements in them: nobody's own code is called so."""
_own: set[str] = set()  # trtnet's files that were met


class Location:
    """One place in a source file: an `Instruction` of code that runs, or a `Place` of which only the text is known."""

    __slots__ = ()

    @property
    def file(self) -> str:
        raise NotImplementedError

    @property
    def function(self) -> str:
        raise NotImplementedError

    @property
    def line(self) -> int:
        raise NotImplementedError

    def __str__(self) -> str:
        return f"{_cell(self.file) or self.file}:{self.line}"

    def excerpt(self) -> str:
        """The source line, underlined where the columns are known."""
        raise NotImplementedError


def _cell(file: str) -> str | None:
    """What IPython calls a cell whose code was compiled from a file of that name, "In[3]"; None for other files."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    name_of = getattr(getattr(shell, "compile", None), "format_code_name", None)
    found = name_of(file) if name_of is not None else None
    return None if found is None else str(found[1])


class Instruction(Location):
    """Where code runs; line and columns are worked out only when they are read."""

    __slots__ = ("code", "instruction")

    def __init__(self, code: CodeType, instruction: int) -> None:
        self.code = code
        self.instruction = instruction

    @property
    def file(self) -> str:
        return self.code.co_filename

    @property
    def function(self) -> str:
        return self.code.co_name

    def span(self) -> tuple[int, int | None, int | None]:
        """Line (from 1), and first and last column (from 0) where Python knows them."""
        for index, (line, end_line, column, end_column) in enumerate(self.code.co_positions()):
            if 2 * index == self.instruction and line is not None:
                return line, column, end_column if end_line == line else None
        return self.code.co_firstlineno, None, None

    @property
    def line(self) -> int:
        return self.span()[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return Place, (_cell(self.file) or self.file, self.line, self.function, self.excerpt())

    def excerpt(self) -> str:
        line, start, end = self.span()
        text = linecache.getline(self.file, line).rstrip("\n")
        if not text.strip():
            return ""
        indent = len(text) - len(text.lstrip())
        shown = text.strip()
        if start is None:
            return shown
        # co_positions counts UTF-8 bytes
        raw = text.encode()
        first = len(raw[:start].decode(errors="ignore")) - indent
        last = len(shown) if end is None else len(raw[:end].decode(errors="ignore")) - indent
        return f"{shown}\n{' ' * first}{'^' * max(1, last - first)}"


class Place(Location):
    """A location as text: its source may be elsewhere now, or was never run here."""

    __slots__ = ("_file", "_function", "_line", "_shown")

    def __init__(self, file: str, line: int, function: str, shown: str) -> None:
        self._file, self._line, self._function, self._shown = file, line, function, shown

    @property
    def file(self) -> str:
        return self._file

    @property
    def function(self) -> str:
        return self._function

    @property
    def line(self) -> int:
        return self._line

    def excerpt(self) -> str:
        return self._shown


def location_of(function: Any) -> Location | None:
    """The first line of a user's function, or of a module's forward; None of trtnet's own, and of what has none."""
    function = getattr(function, "forward", function)
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    is_own = f"{getattr(function, '__module__', '')}.".startswith(_PREFIX)
    return None if code is None or is_own else Instruction(code, -1)


def here() -> Instruction | None:
    """The innermost frame outside trtnet, or None if there is none."""
    frame: FrameType | None = sys._getframe(2)  # the caller is trtnet's
    while frame is not None:
        if (file := frame.f_code.co_filename) in _own:
            frame = frame.f_back
            continue
        if not (frame.f_globals.get("__name__", "") + ".").startswith(_OWN):
            return Instruction(frame.f_code, frame.f_lasti)
        if not file.startswith("<"):  # generated code, the user's too
            _own.add(file)
        frame = frame.f_back
    return None


def raised_at(error: BaseException, library: str) -> Instruction | None:
    """The innermost frame that an error passed and that is neither trtnet's nor of the package of this name."""
    found, passed = None, error.__traceback__
    while passed is not None:
        if not (passed.tb_frame.f_globals.get("__name__", "") + ".").startswith((*_OWN, f"{library}.")):
            found = Instruction(passed.tb_frame.f_code, passed.tb_lasti)
        passed = passed.tb_next
    return found


def user_level() -> int:
    """`stacklevel` for the caller's `warnings.warn`, of the innermost frame outside trtnet."""
    level, frame = 1, sys._getframe(1)
    while frame is not None and (frame.f_globals.get("__name__", "") + ".").startswith(_OWN):
        frame, level = frame.f_back, level + 1  # type: ignore[assignment]
    return level
