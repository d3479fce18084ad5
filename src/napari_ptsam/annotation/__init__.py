"""Annotate planes by hand: labels, outlines of clicked objects, suggestions, session folders."""
