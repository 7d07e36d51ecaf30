"""What is, or may soon be, wrong with the database and the layers; each finding says how to mend it."""
