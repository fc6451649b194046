"""The ``gse`` command: one module per subcommand. Only this package talks to the user."""
