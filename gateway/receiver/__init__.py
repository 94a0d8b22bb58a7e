"""The other end of the wire: the reference receiving service, its store and its query."""
