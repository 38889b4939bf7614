"""Wires one run and owns its life: preflight, warm-up, run, close."""
