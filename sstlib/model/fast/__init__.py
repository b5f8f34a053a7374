"""What is there for speed alone. One switch, `fits`, says where it may step in; without it the network computes the
same in PyTorch.
"""

from sstlib.model.fast.convolution import Convolution3, Pending, fits, residual, sharpened, stem

__all__ = ["Convolution3", "Pending", "fits", "residual", "sharpened", "stem"]
