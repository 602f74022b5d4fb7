//! A place within a turn where other threads may be anywhere. The simulator, whose servers have one thread for all turns, has
//! others take theirs there; everywhere else it is nothing.

use std::cell::RefCell;

thread_local! {
    static THERE: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
}

/// The turn is halfway: what it has done so far can be seen by others, the rest not yet.
pub fn halfway() {
    THERE.with(|there| {
        if let Ok(mut there) = there.try_borrow_mut()
            && let Some(others) = &mut *there
        {
            others();
        }
    });
}

/// Does `work`; whenever it is halfway on this thread, `others` have their turns.
pub fn with_others<T>(others: Box<dyn FnMut()>, work: impl FnOnce() -> T) -> T {
    struct Gone;
    impl Drop for Gone {
        fn drop(&mut self) {
            THERE.set(None);
        }
    }
    THERE.set(Some(others));
    let _gone = Gone;
    work()
}
