"""Learn how business tables came to be, and publish synthetic ones to a DuckDB warehouse."""

__version__ = "0.1.0"
