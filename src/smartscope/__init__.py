"""smartscope: event-driven control for any Micro-Manager microscope."""

__version__ = "0.1.0"
