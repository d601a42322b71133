"""Tests of the Dag files."""
