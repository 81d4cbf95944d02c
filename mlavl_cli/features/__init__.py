"""Clips -> features, with frozen backbones only."""
