"""Scores as pages: one self-contained HTML file a routine, and an index of them."""
