"""What people read of a run: a page, two cards and a headline, all written from the same plain data."""
