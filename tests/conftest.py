"""Every test runs on one thread, with the shapes in sstlib's signatures checked by jaxtyping and beartype."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping

jaxtyping.install_import_hook("sstlib", "beartype.beartype")

import torch

torch.set_num_threads(1)
