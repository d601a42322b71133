"""Tools for maintainers of this starter: fault injection, benchmarks, screenshots. Never part of a copy."""
