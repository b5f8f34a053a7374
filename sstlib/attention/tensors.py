"""The tensors that implementations of attention pass on, by what they are: with batch and head, and flattened, a group
being a head of a clip and a cell one of (time, height, width).
"""

from torch import Tensor

from sstlib.shapes import Float, Int, Shaped

Query = Float[Tensor, "batch head time_q height width dim"]
Key = Float[Tensor, "batch head time height width dim"]
Value = Float[Tensor, "batch head time height width dim_v"]
Output = Float[Tensor, "batch head time_q height width dim_v"]
PerQuery = Float[Tensor, "batch head time_q height width"]  # such as the log-sum-exp
Ranked = Float[Tensor, "batch head object time_q height width"]  # best scores and affinities
Best = Int[Tensor, "batch head object time_q height width"]  # the keys that they are of
Bias = Float[Tensor, "batch head *one"]
Members = Float[Tensor, "batch object time height width"]
Labels = Shaped[Tensor, "batch *object time height width"]  # numbers, or memberships

Queries = Float[Tensor, "group cell_q dim"]
Keys = Float[Tensor, "group cell dim"]
Values = Float[Tensor, "group cell dim_v"]
Outputs = Float[Tensor, "group cell_q dim_v"]
PerQueries = Float[Tensor, "group cell_q"]

# Blocks of queries and keys, whatever the axes before them
Rows = Float[Tensor, "*block row dim"]
Columns = Float[Tensor, "*block column dim"]
Carried = Float[Tensor, "*block column dim_v"]
Scores = Float[Tensor, "*block row column"]
PerRow = Float[Tensor, "*block row 1"]
Some = Shaped[Tensor, "..."]
