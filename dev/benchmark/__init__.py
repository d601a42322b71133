"""Benchmarks of this project compared with the stock provider and the Astronomer tutorial."""
