"""Programs that benchmarks measure, each in a separate process without other imports of this project."""
