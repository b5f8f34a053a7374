"""Carries out one run: train, segment the test clips with its own masks, score them, write the record."""

import resource
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from sstlib import paths
from sstlib.connectivity import parse
from sstlib.datasets import open_dataset
from sstlib.experiments import records
from sstlib.experiments.sweeps import Run
from sstlib.inference import Segmenter
from sstlib.metrics import score_sequence
from sstlib.model import Propagator
from sstlib.training import train
from sstlib.video import Sequence
