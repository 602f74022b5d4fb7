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
    /// Bytes since the start, those that are staged among them.
    appended: Cell<u64>,
    /// Of these, how many are on disk.
    flushed: Cell<u64>,
    writer: Cell<Option<Waker>>,
    waiting: RefCell<Vec<Waker>>,
    failed: RefCell<Option<String>>,
}

impl Journal {
    pub fn create(path: &Path) -> io::Result<Rc<Journal>> {
        let _ = std::fs::remove_file(path); // left by a run before
        let mapping = RealDisk.create_mapped(path, &[], FILE_BYTES, 0)?;
        Ok(Rc::new(Journal {
            mapping: RefCell::new(mapping),
            staged: RefCell::default(),
            appended: Cell::new(0),
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
        self.appended.set(self.appended.get() + bytes as u64);
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    pub fn appended(&self) -> u64 {
        self.appended.get()
    }

    pub fn flushed(&self) -> u64 {
        self.flushed.get()
    }

    /// Until `is_so`, which may change with every flush, and whenever `tell` is called; false once the disk has failed.
    pub async fn wait_until(&self, is_so: impl Fn() -> bool) -> bool {
        poll_fn(|cx| {
            if self.failed.borrow().is_some() || is_so() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.failed.borrow().is_none()
    }

    /// Whoever waits looks again.
    pub fn tell(&self) {
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// Flushes what is staged, for ever, or until the disk fails: then it says why.
    pub async fn write(self: Rc<Journal>) -> io::Error {
        let error = match self.write_until_it_fails().await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        *self.failed.borrow_mut() = Some(error.to_string());
        self.tell();
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
            let through = self.appended.get();
            if offset + bytes.len() as u64 > FILE_BYTES {
                offset = 0;
            }
            self.mapping.borrow_mut().write(offset, &bytes)?;
            offset += bytes.len() as u64;
            on_ring.sync_data().await?;
            self.flushed.set(through);
            self.tell();
        }
    }
}
