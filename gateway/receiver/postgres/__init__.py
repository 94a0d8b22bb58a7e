"""The store of several receivers at once: PostgreSQL, partitioned by day. Needs psycopg 3."""
