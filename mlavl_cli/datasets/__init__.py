"""Labelled routines on disk, in the layouts of the public datasets and in the users' own."""
