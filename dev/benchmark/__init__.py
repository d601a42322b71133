"""Benchmarks of this project beside the stock provider and the Astronomer tutorial."""
