"""Who may import whom: docs/architecture.md lists every module's layer, this test walks the imports.

A module missing from the table fails, so does one the table names but nobody wrote. Rooms (packages, and modules that
stand beside them) import each other in no circle, whatever their layers: there is an order in which to read them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ARCHITECTURE = PROJECT / "docs" / "architecture.md"

# layer -> layers its modules may import from
MAY_IMPORT = {
    "L0": set(),
    "L1 pure": {"L0", "L1 pure"},
    "L2 disk": {"L0", "L1 pure", "L2 disk"},
    "L3 alone": {"L0", "L1 pure", "L3 alone"},
    "L3 acting": {"L0", "L1 pure", "L2 disk", "L3 alone", "L3 acting"},
    "L4 wiring": {"L0", "L1 pure", "L2 disk", "L3 alone", "L3 acting", "L4 wiring"},
    "views": {"L0", "L1 pure", "L2 disk", "views"},
    "L5 user": {"L0", "L1 pure", "L2 disk", "L3 alone", "L3 acting", "L4 wiring", "L5 user", "views"},
    "apps": {"L0", "L1 pure", "apps"},
    "scenarios": {"L0", "L1 pure"},
}
# third-party package -> modules that may import it: each has one door
DOORS = {
    "mininet": {
        "testbed.fabric.leafspine",
        "testbed.fabric.network",
        "testbed.mn",
        "testbed.prompt.interactive",
    },
    "matplotlib": {
        "testbed.views.cross_plot",
        "testbed.views.completion_plot",
        "testbed.views.latency_plot",
        "testbed.views.paper",
        "testbed.views.plots",
        "testbed.views.runs_plot",
        "testbed.views.sweep_plot",
        "testbed.views.sweep_training",
        "testbed.views.sweep_words",
        "testbed.views.timeline",
    },
    "os_ken": {"apps.compat"},
    "ryu": {"apps.compat", "apps.ryu_manager"},
}
# What would give a pure module a clock, randomness of its own or a way to act.
IMPURE = {
    "asyncio",
    "multiprocessing",
    "os",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "subprocess",
}
IMPURE |= {"sys", "tempfile", "threading", "time"}
HANDS = {"input", "open", "print"}  # builtins


def layer_table(text: str) -> dict[str, str]:
    """Return module pattern -> layer, as the table under "Layers" gives them."""
    section = next(part for part in re.split(r"^## ", text, flags=re.MULTILINE) if part.startswith("Layers"))
    layers = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0] not in ("layer", "---"):
            for name in re.findall(r"`([^`]*)`", cells[1]):
                layers.update(dict.fromkeys(name.split(), cells[0]))
    return layers


def layer_of(module: str, layers: dict[str, str]) -> str | None:
    """Return the layer of a dotted module name, or None when the table does not have it.

    A module named in full (``runs/scenario_files``) comes before its room (``runs/*``).
    """
    package, _, rest = module.partition(".")
    path = rest.replace(".", "/")
    if package in ("apps", "scenarios"):
        return layers.get(f"{package}/*")
    room = path if (PROJECT / "testbed" / path).is_dir() else path.rpartition("/")[0]
    return layers.get(path, layers.get(f"{room}/*"))


def modules() -> dict[str, Path]:
    """Return every module of ours by dotted name; packages' ``__init__`` count as the package."""
    found = {}
    for package in ("testbed", "apps", "scenarios"):
        for path in sorted((PROJECT / package).rglob("*.py")):
            parts = path.relative_to(PROJECT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: str, package: str) -> Iterator[str]:
    """Yield the dotted names a module imports, wherever in it; ``from a import b`` yields ``a.b``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])]
                )
            yield from (f"{base}.{alias.name}" for alias in node.names)


def module_of(name: str, known: dict[str, Path]) -> str | None:
    """Return the module of ours that importing ``name`` loads, or None when it is not ours."""
    while name:
        if name in known:
            return name
        name = name.rpartition(".")[0]
    return None


KNOWN = modules()
LAYERS = layer_table(ARCHITECTURE.read_text())
# Packages themselves and entry points hold no code that belongs to a layer.
CHECKED = [name for name in KNOWN if name not in ("testbed", "apps", "scenarios", "testbed.__main__")]


def imported(module: str) -> set[str]:
    path = KNOWN[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return set(imports(path.read_text(), package))


@pytest.mark.parametrize("module", CHECKED)
def test_module_imports_only_from_layers_it_may(module: str) -> None:
    layer = layer_of(module, LAYERS)
    assert layer is not None, f"{module} is in no layer of {ARCHITECTURE.relative_to(PROJECT)}; add it to the table"
    for name in imported(module):
        target = module_of(name, KNOWN)
        if target in (None, "testbed", module):
            continue
        if target == "scenarios" or target.startswith("scenarios."):
            assert module in ("testbed.runs.scenario_files",) or layer == "scenarios", f"{module} imports {name}"
            continue
        target_layer = layer_of(target, LAYERS)
        assert target_layer in MAY_IMPORT[layer], f"{module} ({layer}) imports {target} ({target_layer})"


def room_of(module: str, known: Mapping[str, Path]) -> str:
    """Return the package a module is in, or the module itself where it stands right below ``testbed``."""
    package, _, _name = module.rpartition(".")
    return module if known[module].name == "__init__.py" or package in ("", "testbed") else package


def rooms_of(edges: Iterable[tuple[str, str]], known: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Return room -> other room it imports from -> a module that does, and what it imports."""
    rooms: dict[str, dict[str, str]] = {}
    for module, target in edges:
        room, other = room_of(module, known), room_of(target, known)
        rooms.setdefault(room, {})
        if room != other:
            rooms[room].setdefault(other, f"{module} imports {target}")
    return rooms


def order_of(text: str) -> dict[str, int]:
    """Return room -> line of the list of rooms "from below" that the architecture has."""
    lines = re.split(r"^```$", text.partition("From below")[2], flags=re.MULTILINE)[1].strip().splitlines()
    return {f"testbed.{name.replace('/', '.')}": number for number, line in enumerate(lines) for name in line.split()}


def circle(rooms: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the imports that lead from a room to itself, empty where none do."""
    try:
        TopologicalSorter(rooms).prepare()
    except CycleError as error:
        found = error.args[1]
        return [rooms[importer][imported_] for imported_, importer in zip(found, found[1:], strict=False)]
    return []


def our_rooms() -> dict[str, dict[str, str]]:
    targets = ((module, module_of(name, KNOWN)) for module in CHECKED for name in imported(module))
    return rooms_of(((module, target) for module, target in targets if target not in (None, "testbed")), KNOWN)


def test_rooms_import_each_other_in_no_circle() -> None:
    rooms = our_rooms()
    assert {"testbed.model", "testbed.gse", "testbed.gse.dataplane", "testbed.files", "apps"} <= set(rooms)
    assert circle(rooms) == []


def test_rooms_import_from_above_them_in_the_list_only() -> None:
    order = order_of(ARCHITECTURE.read_text())
    assert {room_of(name, KNOWN) for name in CHECKED if name.startswith("testbed.")} == set(order)
    wrong = [
        words
        for room, others in our_rooms().items()
        for other, words in others.items()
        if room in order and other in order and order[other] >= order[room]
    ]
    assert wrong == []


def test_a_circle_would_be_noticed_and_shown() -> None:
    known = {f"testbed.{name}": Path(f"{name.rpartition('.')[2]}.py") for name in ("a.one", "a.two", "b.one", "c", "d")}
    one_way = [("testbed.a.one", "testbed.b.one"), ("testbed.b.one", "testbed.c"), ("testbed.a.one", "testbed.a.two")]
    assert circle(rooms_of(one_way, known)) == []
    assert circle(rooms_of([*one_way, ("testbed.d", "testbed.a.two")], known)) == []
    found = circle(rooms_of([*one_way, ("testbed.c", "testbed.a.two")], known))
    assert sorted(found) == [
        "testbed.a.one imports testbed.b.one",
        "testbed.b.one imports testbed.c",
        "testbed.c imports testbed.a.two",
    ]


@pytest.mark.parametrize("module", CHECKED)
def test_third_party_packages_have_one_door(module: str) -> None:
    for name in imported(module):
        doors = DOORS.get(name.partition(".")[0])
        assert doors is None or module in doors, f"{module} imports {name}; only {sorted(doors or ())} may"


def test_every_door_leads_somewhere() -> None:
    closed = {
        (package, module)
        for package, doors in DOORS.items()
        for module in doors
        if package not in {name.partition(".")[0] for name in imported(module)}
    }
    assert closed == set()


@pytest.mark.parametrize("module", [name for name in CHECKED if layer_of(name, LAYERS) == "L1 pure"])
def test_pure_module_has_no_clock_and_no_hands(module: str) -> None:
    names = imported(module)
    assert not {name.partition(".")[0] for name in names} & IMPURE
    assert not names & {"pathlib", "pathlib.Path"}, "PurePath is enough"
    calls = (node.func for node in ast.walk(ast.parse(KNOWN[module].read_text())) if isinstance(node, ast.Call))
    assert not {one.id for one in calls if isinstance(one, ast.Name)} & HANDS


def test_table_names_only_modules_that_exist() -> None:
    for pattern in LAYERS:
        if pattern.endswith("/*"):
            directory = PROJECT / ("" if pattern[:-2] in ("apps", "scenarios") else "testbed") / pattern[:-2]
            assert directory.is_dir(), f"{pattern} is in the table, but there is no {directory}"
        else:
            name = f"testbed.{pattern.replace('/', '.')}"
            assert name in KNOWN, f"{pattern} is in the table, but there is no testbed/{pattern}.py"


def test_table_has_exactly_the_layers_with_rules() -> None:
    assert set(LAYERS.values()) == set(MAY_IMPORT)


def test_imports_are_found_wherever_they_stand() -> None:
    source = "import os.path\ndef f():\n    from testbed import network\n    from .a import b\n    from .. import c\n"
    assert set(imports(source, "testbed.cli")) == {"os.path", "testbed.network", "testbed.cli.a.b", "testbed.c"}


def test_breach_would_be_noticed() -> None:
    layers = {"errors": "L0", "fabric/*": "L3 acting"}
    known = {"testbed.errors": Path(), "testbed.fabric.network": Path()}
    assert module_of("testbed.fabric.network.Network", known) == "testbed.fabric.network"
    assert layer_of("testbed.fabric.network", layers) not in MAY_IMPORT[layers["errors"]]
