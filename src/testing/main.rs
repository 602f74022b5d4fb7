//! The one integration-test binary; each module below is one kind of proof.
mod golden;
