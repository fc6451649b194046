"""Every command of the prompt is told of where people look for them."""

from __future__ import annotations

import re

from testbed.cli import cli
from testbed.prompt.interactive import COMMANDS, FabricCLI


def test_every_command_of_ours_is_listed_by_help_and_by_the_help_of_gse_cli() -> None:
    written = {name.removeprefix("do_") for name in vars(FabricCLI) if name.startswith("do_")}
    assert set(COMMANDS) == written - {"help", "source"}  # these two Mininet has, too
    assert set(COMMANDS) <= set(re.findall(r"\w+", str(cli.__doc__).partition("At the prompt:")[2]))
