"""Hearing every move: true and estimated scores of a mix while its faders move.

Light (numpy only, usable at every fader event): `surrogate`, `curve`, `strip`, `frame`, `grid`. Heavy (torch, for
workers): `stages`, `weights`, `tower`, `session`, `fill`, `tuning`.
"""
