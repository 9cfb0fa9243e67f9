"""Every named place at which a process can fail fails once, for real; every answer must be as if nothing had been."""
