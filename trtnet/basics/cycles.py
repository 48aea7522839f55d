"""Lists, tuples and dicts that contain themselves: what walks through them comes to no end."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import ArgumentError


def refuse_cycle(what: str, name: str, value: object, module: str | None = None) -> None:
    """Raises ArgumentError where a list, a tuple or a dict contains itself, or one that it stands in.

    Args:
        what: how the message calls it.
        name: what the places in it begin with: `states[0]['h']`.
        module: the path of the module that holds it.
    """
    found = _cycle(value)
    if found is not None:
        inner, outer = (name + "".join(f"[{key!r}]" for key in keys) for keys in found)
        raise ArgumentError(
            f"{what} contains itself",
            expected="tuples, lists and dicts that come to an end",
            found=f"{inner} is {outer}",
            module=module,
            remedy=f"take {inner} out of it, or put a copy there that does not contain itself",
        )


def _cycle(value: object) -> tuple[list[object], list[object]] | None:
    """The first place where a container stands inside itself, and its own: keys and positions from the outermost on."""
    holders, keys, waiting = [value], list[object](), [iter(_parts(value))]
    above, done = {id(value)}, set[int]()
    while waiting:
        for key, part in waiting[-1]:
            if not isinstance(part, (tuple, list, Mapping)) or id(part) in done:
                continue
            if id(part) in above:
                own = next(depth for depth, holder in enumerate(holders) if holder is part)
                return [*keys, key], keys[:own]
            holders.append(part)
            keys.append(key)
            above.add(id(part))
            waiting.append(iter(_parts(part)))
            break
        else:
            waiting.pop()
            left = id(holders.pop())
            above.remove(left)
            done.add(left)
            del keys[-1:]
    return None


def _parts(value: object) -> list[tuple[object, object]]:
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, (tuple, list)) else []
