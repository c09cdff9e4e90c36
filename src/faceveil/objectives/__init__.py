"""Objectives: one loss per image, lower for a better cloak."""
