"""Local commands to a running gateway, over a socket in its data directory."""
