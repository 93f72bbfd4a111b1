"""Runs beside each other: what their constitutions say, what their models do, and what each of them cost."""
