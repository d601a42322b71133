"""Programs that benchmarks measure, each in a process of its own without other imports of this project."""
