"""Between the wire and the database: what comes in is checked here, what goes out is laid out here."""
