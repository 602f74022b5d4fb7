//! Reads jute primitives from a slice. Never panics, never allocates more than the slice can justify:
//! a length or count is only believed as far as bytes stand behind it.

use crate::types::{Acl, Id};

/// Bytes that are no record: what was being read, where, and what came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}: {found}")]
pub struct BadBytes {
    pub what: &'static str,
    pub offset: usize,
    pub found: Found,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Found {
    #[error("only {left} of {needed} bytes")]
    Short { needed: usize, left: usize },
    #[error("length {0}")]
    Length(i32),
    #[error("text that is not UTF-8")]
    NotUtf8,
    #[error("a null")]
    Null,
    #[error("value {0}")]
    Value(i64),
}

/// A cursor over undecoded bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, offset: 0 }
    }

    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.offset..]
    }

    pub fn is_empty(&self) -> bool {
        self.offset == self.bytes.len()
    }

    pub fn error(&self, what: &'static str, found: Found) -> BadBytes {
        BadBytes { what, offset: self.offset, found }
    }

    pub fn take(&mut self, what: &'static str, count: usize) -> Result<&'a [u8], BadBytes> {
        let left = self.bytes.len() - self.offset;
        if count > left {
            return Err(self.error(what, Found::Short { needed: count, left }));
        }
        let taken = &self.bytes[self.offset..self.offset + count];
        self.offset += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], BadBytes> {
        Ok(self.take(what, N)?.try_into().expect("take returns what was asked"))
    }

    pub fn bool(&mut self, what: &'static str) -> Result<bool, BadBytes> {
        Ok(self.array::<1>(what)?[0] != 0)
    }

    pub fn int(&mut self, what: &'static str) -> Result<i32, BadBytes> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    pub fn long(&mut self, what: &'static str) -> Result<i64, BadBytes> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    /// A buffer; -1 is null, any other negative length is an error.
    pub fn buffer(&mut self, what: &'static str) -> Result<Option<&'a [u8]>, BadBytes> {
        let length = self.int(what)?;
        match length {
            -1 => Ok(None),
            0.. => self.take(what, length as usize).map(Some),
            _ => Err(self.error(what, Found::Length(length))),
        }
    }

    /// A string; -1 is null.
    pub fn string(&mut self, what: &'static str) -> Result<Option<&'a str>, BadBytes> {
        let start = self.offset;
        match self.buffer(what)? {
            None => Ok(None),
            Some(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(BadBytes { what, offset: start, found: Found::NotUtf8 }),
            },
        }
    }

    /// A string that must not be null.
    pub fn string_present(&mut self, what: &'static str) -> Result<&'a str, BadBytes> {
        let text = self.string(what)?;
        text.ok_or_else(|| self.error(what, Found::Null))
    }

    /// Count of a vector: `None` is null; a negative count other than -1 reads as empty, like Java's loop.
    pub fn count(&mut self, what: &'static str) -> Result<Option<usize>, BadBytes> {
        let count = self.int(what)?;
        Ok(match count {
            -1 => None,
            _ => Some(count.max(0) as usize),
        })
    }

    /// A vector whose elements take at least `element_bytes_min` each, so that an absurd count is refused
    /// before anything is allocated.
    pub fn vector<T>(
        &mut self,
        what: &'static str,
        element_bytes_min: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, BadBytes>,
    ) -> Result<Option<Vec<T>>, BadBytes> {
        let Some(count) = self.count(what)? else {
            return Ok(None);
        };
        let needed = count.saturating_mul(element_bytes_min);
        let left = self.rest().len();
        if needed > left {
            return Err(self.error(what, Found::Short { needed, left }));
        }
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// A vector of ACL entries; `None` is a null vector.
    pub fn acl(&mut self, what: &'static str) -> Result<Option<Vec<Acl>>, BadBytes> {
        self.vector(what, 12, |r| {
            let perms = r.int(what)?;
            let scheme = r.string_present(what)?.to_owned();
            let id = r.string(what)?.unwrap_or_default().to_owned();
            Ok(Acl { perms, id: Id { scheme, id } })
        })
    }
}
