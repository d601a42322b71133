"""Tools of the maintainers of this starter: fault injection, benchmarks, screenshots. Never in a copy."""
