"""Zhang et al., 2020: Adversarial Privacy-preserving Filter. The first recognizer is the probe, the others servers."""

PAPER = "Zhang et al., 2020: Adversarial Privacy-preserving Filter, https://doi.org/10.1145/3394171.3413906"
PROBE = "mobilefacenet-foamliu"
