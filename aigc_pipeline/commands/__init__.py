"""The `aigc` commands: one module for each group of them, thin shells around the library."""
