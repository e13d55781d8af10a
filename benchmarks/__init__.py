"""Benchmarks: datasets, and the measurements made with them."""
