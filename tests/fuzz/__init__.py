"""Damaged and hostile files by the thousand, through every reader: `make fuzz MINUTES=60`; the tests try some."""
