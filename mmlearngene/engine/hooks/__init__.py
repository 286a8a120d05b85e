"""Hooks: a file each."""
