"""Import this before torch: threads of a training process that wait sleep instead of spinning.

On a shared machine spinning ones slowed a step sevenfold. OpenMP reads the setting when torch is loaded. It is not
made for whoever merely imports something from this package, because the product's benchmarks do.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
