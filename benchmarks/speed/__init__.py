"""Benchmarks of the engine: speed, freshness, recall targets and latency budgets."""
