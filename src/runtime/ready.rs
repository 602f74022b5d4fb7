//! Which operations of a core have completed. The main future of a core polls only those, so that a turn costs what
//! it handles and not what is idle.

use super::sync::{AtomicBool, Mutex, Ordering, SegQueue};
use std::sync::Arc;
use std::task::{Wake, Waker};

/// Completed operations, by token.
#[derive(Default)]
pub(super) struct ReadyList {
    tokens: SegQueue<u64>,
    /// The main future was woken and has not looked yet.
    woken: AtomicBool,
    main: Mutex<Option<Waker>>,
}

impl ReadyList {
    /// Looks at the list; whatever completes from here on wakes `main` again.
    pub fn attend(&self, main: &Waker) {
        let mut known = self.main.lock();
        if !known.as_ref().is_some_and(|known| known.will_wake(main)) {
            *known = Some(main.clone());
        }
        drop(known);
        // Not a store: whoever found it set before does not wake, so what it put on the list must be seen from here on.
        self.woken.swap(false, Ordering::AcqRel);
    }

    pub fn pop(&self) -> Option<u64> {
        self.tokens.pop()
    }

    fn push(&self, token: u64) {
        self.tokens.push(token);
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Some(main) = &*self.main.lock()
        {
            main.wake_by_ref();
        }
    }
}

/// A waker that puts `token` on the list.
pub(super) fn waker(list: &Arc<ReadyList>, token: u64) -> Waker {
    Waker::from(Arc::new(TokenWaker { list: list.clone(), token }))
}

struct TokenWaker {
    list: Arc<ReadyList>,
    token: u64,
}

impl Wake for TokenWaker {
    fn wake(self: Arc<Self>) {
        self.list.push(self.token);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.list.push(self.token);
    }
}
