"""HTML as a tree, never as text: whatever a result says ends up escaped, because nothing here puts strings together.

``xml.etree.ElementTree`` serialises it. Text is made printable first, so that no control character gets through.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any, Final

from testbed.errors import printable, printable_lines
from testbed.views.cells import Grid

Element = ET.Element
Child = Element | str | None
LANDMARKS: Final = {"nav": "navigation", "section": "region"}  # that a question has, and their roles


def element(tag: str, *children: Child, **attributes: object) -> Element:
    """Return an element; ``class_`` is ``class``, ``aria_label`` is ``aria-label``; None: the attribute is not set."""
    node = ET.Element(tag)
    for name, value in attributes.items():
        if value is not None:
            node.set(name.rstrip("_").replace("_", "-"), printable(str(value)))
    for child in children:
        add(node, child)
    return node


def add(node: Element, child: Child) -> None:
    """Append an element, or text after what is already there."""
    if child is None:
        return
    if not isinstance(child, str):
        node.append(child)
    elif len(node):
        node[-1].tail = (node[-1].tail or "") + printable(child)
    else:
        node.text = (node.text or "") + printable(child)


def preformatted(text: str, **attributes: object) -> Element:
    """Return text whose line ends count."""
    node = element("pre", **attributes)
    code = element("code")
    code.text = printable_lines(text)
    node.append(code)
    return node


def verbatim(tag: str, text: str, **attributes: object) -> Element:
    """Return our own script or style, or what ``json_for_script`` returned: not escaped, so never a stranger's."""
    node = element(tag, **attributes)
    node.text = text
    return node


def json_for_script(value: Any) -> str:
    """Return JSON that can stand in a script element: nothing in it ends that element or begins a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def document_text(root: Element) -> str:
    """Return a whole page."""
    return "<!DOCTYPE html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"


def tell_apart(questions: Sequence[Element]) -> None:
    """Give landmarks that would share their name one of their own, by question: who jumps to one knows only its name.

    Names are compared as readers' software does, without regard to case and spaces.
    """
    labels = {key: _text(node) for question in questions for node in question.iter() if (key := node.get("id"))}
    taken: set[tuple[str, str]] = set()
    for number, question in enumerate(questions, start=1):
        for node in question.iter():
            role = node.get("role") or LANDMARKS.get(node.tag)
            name = node.get("aria-label") or labels.get(node.get("aria-labelledby") or "")
            if role is None or role not in LANDMARKS.values() or not name:
                continue
            told, further = name, 1
            while (role, told.casefold()) in taken:
                told = f"{name}, question {number}" + (f" ({further})" if further > 1 else "")
                further += 1
            taken.add((role, told.casefold()))
            if told != name:
                node.attrib.pop("aria-labelledby", None)
                node.set("aria-label", told)


def _text(node: Element) -> str:
    """Return all text of an element as one line."""
    return " ".join("".join(node.itertext()).split())


def table(grid: Grid, *, captioned: bool = True) -> Element:
    """Return a table with its notes below; the first ``grid.labels`` columns are words."""
    head = element("tr", *(_header(grid, index, text) for index, text in enumerate(grid.headers)))
    rows = [element("tr", *(_cell(grid, index, text) for index, text in enumerate(row))) for row in grid.rows]
    node = element(
        "table",
        element("caption", grid.title) if captioned else None,
        element("thead", head),
        element("tbody", *rows),
    )
    label = (grid.title if captioned else f"Numbers of {grid.title}") if grid.title else "table"
    scrolled = element("div", node, class_="scroll", role="region", aria_label=label, tabindex="0")
    notes = [element("li", note) for note in grid.notes]
    return element("div", scrolled, element("ul", *notes, class_="notes") if notes else None, class_="grid")


def _header(grid: Grid, index: int, text: str) -> Element:
    words = text.replace("/\n", "/").replace(".\n", ".").replace("\n", " ")
    if not words:
        return element("td")
    return element("th", words, scope="col", class_="word" if index < grid.labels else None)


def _cell(grid: Grid, index: int, text: str) -> Element:
    verdict = f"verdict {text.lower()}" if text in ("VALID", "SUSPECT", "INVALID") else None
    if index == 0:
        indented = "part" if text.startswith("  ") else None
        return element("th", element("span", text.strip(), class_=verdict), scope="row", class_=indented)
    kind = "word" if index < grid.labels else None
    return (
        element("td", element("span", text, class_=verdict), class_=kind)
        if verdict
        else element("td", text, class_=kind)
    )
