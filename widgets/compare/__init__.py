"""The compare layout: two desks side by side, A − B between them, scores with the interval of their difference."""
