"""Triton kernels for NVIDIA GPUs; `tiles` calls them."""
