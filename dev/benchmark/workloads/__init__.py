"""Programs that are measured: each runs in a process of its own, and may import what it measures."""
