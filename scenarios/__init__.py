"""Built-in scenarios: one module, one question. See README.md in this folder."""
