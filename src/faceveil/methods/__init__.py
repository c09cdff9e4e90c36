"""Methods: complete systems, composed of recognizers, objectives and attacks; one per file."""
