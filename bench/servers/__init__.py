"""Servers side by side: the same app, the same core, the same load, in turns."""
