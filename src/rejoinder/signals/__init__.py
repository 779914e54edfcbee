"""Wake-ups: within this process, and later across workers."""
