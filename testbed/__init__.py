"""gse-testbed: emulate Global Scheduling Ethernet with real switches, a real controller and real packets."""

__version__ = "0.1.0"
