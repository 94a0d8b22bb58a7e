"""Forwarding to destinations: pure session, encoding, grpc.aio shell."""
