"""Routines of known truth: a drawn figure skates to made music, and what a panel would see is written beside."""
