"""The RPCs, each in three steps: parse, call, render."""
