"""Pure, vectorised normalisation of batches."""
