"""The error that ends a command with one sentence."""


class UserError(Exception):
    """One sentence for the user at the terminal: what is wrong and what to do."""
