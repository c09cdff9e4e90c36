"""Faces: found in a photo, and aligned for a recognizer."""
