"""How a final answer is compared with the gold one, from the cheapest check to the dearest.

extract → normalise → string → shape (tuple, set, interval, relation …) → exact rational →
evaluation at 30 and more digits → sympy in a limited worker. Only the last leaves the process.
"""
