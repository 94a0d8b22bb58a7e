"""The other end: reference receiving service and its store."""
