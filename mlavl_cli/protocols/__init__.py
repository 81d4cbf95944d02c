"""Judges' protocols on disk -> rows of labels."""
