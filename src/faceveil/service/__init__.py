"""The end-cloud service: a gradient of few bits goes out, noise comes back; the photo stays where it is."""
