//! States between two published ones, for reads that have to be answered as of then: a client's read comes before its next
//! write, wherever the batch of that write ends.
//!
//! A cut ends the version being built and begins the next, as a seal does; only its roots are remembered. What the batch around
//! it retires is freed once its cuts are no longer looked at (`reclaim`).

use super::reader::{Published, Version};
use super::reclaim::HoldToken;
use super::view::View;
use super::writer::TreeWriter;
use std::sync::Arc;

/// The cuts of one batch; they may be looked at, on any thread, once that batch is published.
pub struct Cuts {
    versions: Vec<Version>,
    published: Arc<Published>,
    _token: HoldToken,
}

impl Cuts {
    /// `nth`: as `cut` has said.
    pub fn view(&self, nth: u32) -> View<'_> {
        View { roots: &self.versions[nth as usize].roots, seed: &self.published.seed }
    }
}

impl TreeWriter {
    /// Remembers the head as it is now; says which of the batch's cuts it is.
    pub fn cut(&mut self) -> u32 {
        let number = self.seal();
        let version = Version { number, roots: self.head };
        let open = self.open_cuts.get_or_insert_with(|| {
            let (token, released) = HoldToken::new();
            // Those behind it are published with it or later, and nothing that they reach is freed before it.
            self.sealed.back_mut().expect("just sealed").cuts = Some(released);
            Cuts { versions: Vec::new(), published: self.published.clone(), _token: token }
        });
        open.versions.push(version);
        u32::try_from(open.versions.len() - 1).expect("a batch is in memory")
    }

    /// Something is not freed because a cut may still be looked at.
    #[cfg(test)]
    pub fn keeps_for_cuts(&self) -> bool {
        self.reclaim.keeps_for_cuts()
    }

    /// The cuts of the batch that ends here.
    pub fn take_cuts(&mut self) -> Option<Cuts> {
        self.open_cuts.take()
    }
}
