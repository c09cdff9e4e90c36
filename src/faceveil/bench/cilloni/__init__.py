"""Cilloni et al., 2020: an experiment per figure or table, a file each."""

PAPER = "Cilloni et al., 2020: Preventing Personal Data Theft from Images with Adversarial Machine Learning"
