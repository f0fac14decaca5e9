"""Two recipes side by side: rows and coefficients that belong together, scores with the interval of their difference.

The window's compare layout and `main.py history compare` and `main.py explain` call these functions. Light: torch is
loaded only where rows are measured (`engine.evaluate.mix.measure_recipe`).
"""
