"""Recorded and generated workloads of others, read into records of one kind."""
