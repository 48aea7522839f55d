"""Graphs made of graphs: composed for a provider, with live inputs, with further outputs."""
