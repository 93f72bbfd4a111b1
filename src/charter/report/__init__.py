"""What a run did, for people: a page, two cards and a headline, all from the same plain data."""
