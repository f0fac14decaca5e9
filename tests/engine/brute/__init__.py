"""Merge methods a second time: plain numpy in float64, written from the formulas alone, without looking at ours."""
