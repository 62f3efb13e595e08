"""Generated inputs: thousands of files, headers, settings and command lines, none of which may do any harm."""
