"""Two learngene methods of a package that mmlearngene knows nothing of."""
