//! A buffered stream with a running checksum: whole records can be looked at in place before they are consumed, and
//! the Adler-32 of everything consumed so far is at hand at any point. Memory is bounded by the longest record that the stream
//! really holds, not by what a length field claims.

use super::error::StreamError;
use crate::wire::{BadBytes, Found, Reader};
use simd_adler32::Adler32;
use std::io::Read;

const BUFFER_BYTES: usize = 256 << 10;

pub(super) struct ByteStream<R> {
    source: R,
    buffer: Vec<u8>,
    /// Valid bytes of `buffer`.
    have: usize,
    at: usize,
    /// Bytes before this are in `checksum`.
    hashed: usize,
    checksum: Adler32,
    /// Bytes of the stream before `buffer[0]`.
    dropped: u64,
}

impl<R: Read> ByteStream<R> {
    pub fn new(source: R) -> ByteStream<R> {
        ByteStream {
            source,
            buffer: vec![0; BUFFER_BYTES],
            have: 0,
            at: 0,
            hashed: 0,
            checksum: Adler32::new(),
            dropped: 0,
        }
    }

    /// Offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.dropped + self.at as u64
    }

    /// Adler-32 of every byte consumed.
    pub fn checksum(&mut self) -> u32 {
        self.hash_consumed();
        self.checksum.finish()
    }

    /// Makes `count` bytes available; an error when the stream ends before.
    #[inline]
    pub fn need(&mut self, what: &'static str, count: usize) -> Result<(), StreamError> {
        if self.have - self.at >= count || self.refill(count)? {
            return Ok(());
        }
        let left = self.have - self.at;
        Err(StreamError::Bad(BadBytes {
            what,
            offset: self.offset() as usize,
            found: Found::Short { needed: count, left },
        }))
    }

    /// What is available.
    #[inline]
    pub fn window(&self) -> &[u8] {
        &self.buffer[self.at..self.have]
    }

    /// Steps over available bytes.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.have - self.at);
        self.at += count;
    }

    /// Reads a record of unknown length, seeing more of the stream until it is whole.
    pub fn record<T>(&mut self, parse: impl Fn(&mut Reader<'_>) -> Result<T, BadBytes>) -> Result<T, StreamError> {
        loop {
            let mut reader = Reader::new(self.window());
            match parse(&mut reader) {
                Ok(value) => {
                    let count = reader.offset();
                    self.consume(count);
                    return Ok(value);
                }
                Err(bad) => {
                    let available = self.have - self.at;
                    let is_short = matches!(bad.found, Found::Short { .. });
                    if !is_short || !self.refill(available + 1)? {
                        return Err(StreamError::Bad(BadBytes { offset: self.offset() as usize + bad.offset, ..bad }));
                    }
                }
            }
        }
    }

    /// Is there nothing more?
    pub fn is_at_end(&mut self) -> Result<bool, StreamError> {
        Ok(self.have == self.at && !self.refill(1)?)
    }

    /// Reads until `count` bytes are available; false when the stream ends before.
    #[cold]
    fn refill(&mut self, count: usize) -> Result<bool, StreamError> {
        self.hash_consumed();
        self.buffer.copy_within(self.at..self.have, 0);
        self.dropped += self.at as u64;
        self.have -= self.at;
        self.at = 0;
        self.hashed = 0;
        while self.have < count {
            if self.have == self.buffer.len() {
                // Only as the bytes really come.
                self.buffer.resize(2 * self.buffer.len(), 0);
            }
            match self.source.read(&mut self.buffer[self.have..]) {
                Ok(0) => return Ok(false),
                Ok(more) => self.have += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn hash_consumed(&mut self) {
        self.checksum.write(&self.buffer[self.hashed..self.at]);
        self.hashed = self.at;
    }
}
