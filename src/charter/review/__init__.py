"""People in the loop: what they are asked, how they answer, and what becomes of it."""
