"""The default store of a receiver: one SQLite database in one folder, one writing process."""
