"""CT-like training volumes from tissue maps and real CTs.

Every effect is a frozen dataclass: `random` draws its parameters, `apply` uses them, its fields are logged.
"""
