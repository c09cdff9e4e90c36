"""Attacks: from images and an objective to cloaked images inside a budget."""
