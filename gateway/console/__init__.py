"""Web console: a process of its own that shows the gateway's state and passes on commands."""
