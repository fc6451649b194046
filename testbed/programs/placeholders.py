"""Words in braces that a command may contain, replaced for each rank. Pure.

Only ``{lower_case}`` is looked at: braces of JSON or of other languages pass untouched. ``{{rank}}`` is a literal
``{rank}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from testbed.errors import Problem

NAMES: Final = (
    *("rank", "world_size", "local_rank", "master_addr", "master_port"),
    *("host", "ip", "interface", "hostfile"),
)
_WORD: Final = re.compile(r"\{\{([a-z_]+)\}\}|\{([a-z_]+)\}")


def placeholder_problems(argv: Sequence[str]) -> Iterator[Problem]:
    """Yield every word in braces that is none of ``NAMES``."""
    for word in argv:
        for _literal, name in _WORD.findall(word):
            if name and name not in NAMES:
                expected = f"one of {', '.join(NAMES)}, or {{{{{name}}}}} for the word itself"
                yield Problem("unknown placeholder", "COMMAND", f"{{{name}}} in {word[:80]!r}", expected)


def filled(argv: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Return the command of one rank. Raises KeyError for a word that is in neither ``values`` nor doubled braces."""

    def value(match: re.Match[str]) -> str:
        literal, name = match.groups()
        return f"{{{literal}}}" if literal else values[name]

    return [_WORD.sub(value, word) for word in argv]
