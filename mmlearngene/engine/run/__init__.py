"""Running a config: flags, what is looked for and settled before, the work dir, a sweep of sizes."""
