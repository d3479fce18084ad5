"""What both dock widgets use."""
