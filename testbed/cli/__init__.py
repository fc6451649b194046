"""The ``gse`` command: a module of its name for each subcommand; the others say that they are none.

Only this package talks to the user.
"""
