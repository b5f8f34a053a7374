"""Exit statuses of `sst`."""


FAILED = 1
BAD_INPUT = 2
DOUBTFUL = 3
INTERRUPTED = 130
PIPE_CLOSED = 141
