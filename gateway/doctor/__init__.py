"""Tries once everything that a site file names, and says what is wrong; see README.md."""
