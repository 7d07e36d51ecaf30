"""Files of features, on their way into a layer: read in batches, mapped to its properties, laid out as an import."""
