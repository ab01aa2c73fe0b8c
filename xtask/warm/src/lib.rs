//! Keeps dependency features unified while packages are built one at a time.
