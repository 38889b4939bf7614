"""The command line: everything a person types, sees and is told.

Nothing imports this room. It configures logging, turns errors into one sentence and an
exit code, and draws the terminal view; all decisions are made below it.
"""
