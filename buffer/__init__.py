"""Durable log with cursors. A leaf: imports nothing else of this project."""
