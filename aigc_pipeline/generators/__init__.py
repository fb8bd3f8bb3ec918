"""Generator families over one interface."""
