"""Pickles turned into safetensors: read in a separate process that may do nothing else, after a static check.

`convert.convert` starts the process and checks what it made; `machine` reads pickles without running them.
"""
