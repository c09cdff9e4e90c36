"""Yang et al., 2021 (TIP-IM): an experiment per kind of table, on galleries of one making."""

PAPER = "Yang et al., 2021: Towards Face Encryption by Generating Adversarial Identity Masks"
