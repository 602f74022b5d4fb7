//! A log that knows nothing of its records: what is staged while a flush is in flight shares the next one, as in the server.

use ringkeeper::io::disk::{Disk, LogMapping};
use ringkeeper::io::real_disk::RealDisk;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// When it is full it is written from the front again, so that no file has to be made ready meanwhile.
const FILE_BYTES: u64 = 8 << 20;

pub struct Journal {
    mapping: RefCell<Box<dyn LogMapping>>,
    staged: RefCell<Vec<u8>>,
    /// Number of the flush that what is staged now will share.
    next_flush: Cell<u64>,
    /// All flushes below this number are done.
    flushed: Cell<u64>,
    writer: Cell<Option<Waker>>,
    waiting: RefCell<Vec<Waker>>,
    failed: RefCell<Option<String>>,
}

impl Journal {
    pub fn create(path: &Path) -> io::Result<Rc<Journal>> {
        let _ = std::fs::remove_file(path); // left by a run before
        let mapping = RealDisk.create_mapped(path, &[], FILE_BYTES)?;
        Ok(Rc::new(Journal {
            mapping: RefCell::new(mapping),
            staged: RefCell::default(),
            next_flush: Cell::new(0),
            flushed: Cell::new(0),
            writer: Cell::default(),
            waiting: RefCell::default(),
            failed: RefCell::default(),
        }))
    }

    /// Stages a record of so many bytes.
    pub fn append(&self, bytes: usize) {
        let mut staged = self.staged.borrow_mut();
        let end = staged.len() + bytes;
        staged.resize(end, b'x');
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// Until everything appended before is on disk; false once the disk has failed.
    pub async fn flushed(&self) -> bool {
        let mine = self.next_flush.get();
        poll_fn(|cx| {
            if self.failed.borrow().is_some() || self.flushed.get() > mine {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.failed.borrow().is_none()
    }

    /// Flushes what is staged, for ever, or until the disk fails: then it says why.
    pub async fn write(self: Rc<Journal>) -> io::Error {
        let error = match self.write_until_it_fails().await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        *self.failed.borrow_mut() = Some(error.to_string());
        self.wake_all();
        error
    }

    async fn write_until_it_fails(&self) -> io::Result<std::convert::Infallible> {
        let file = self.mapping.borrow().file();
        let kernel_file = file.kernel_file().expect("a real disk's file is the kernel's").try_clone()?;
        let on_ring = tokio_uring::fs::File::from_std(kernel_file);
        let (mut bytes, mut offset) = (Vec::new(), 0);
        loop {
            poll_fn(|cx| {
                if !self.staged.borrow().is_empty() {
                    return Poll::Ready(());
                }
                self.writer.set(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
            bytes.clear();
            std::mem::swap(&mut bytes, &mut *self.staged.borrow_mut());
            self.next_flush.set(self.next_flush.get() + 1);
            if offset + bytes.len() as u64 > FILE_BYTES {
                offset = 0;
            }
            self.mapping.borrow_mut().write(offset, &bytes)?;
            offset += bytes.len() as u64;
            on_ring.sync_data().await?;
            self.flushed.set(self.next_flush.get());
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }
}
