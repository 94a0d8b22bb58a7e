"""Generated from proto/plantgate/wire/v1, committed, never edited (make proto)."""
