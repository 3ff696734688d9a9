"""Predicts throughput, latency, memory and connections of settings that were never run."""
