//! The suite every driver must pass.
