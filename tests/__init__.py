"""Tests of the Dags, of what they import, of the plugins and of the image."""
