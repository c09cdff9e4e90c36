"""Metrics: how far one picture lies from another."""

from faceveil.metrics.similarity import largest_change, psnr, ssim

__all__ = ["largest_change", "psnr", "ssim"]
