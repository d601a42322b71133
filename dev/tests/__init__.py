"""Tests of the template and of the commands for maintainers."""
