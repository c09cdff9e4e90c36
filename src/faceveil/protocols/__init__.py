"""Protocols: published measurements, as functions of embeddings and of whom they show."""
