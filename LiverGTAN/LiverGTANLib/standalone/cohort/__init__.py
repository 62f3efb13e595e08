"""Many CTs into one folder: which they are, what of each is done, and the table and the page over all of them."""

PAGE = "cohort.html"
KINDS = "local:WORKERS, ssh:HOST,HOST..., slurm:JOBS or tcp://HOST:PORT"
"""Of clusters."""
